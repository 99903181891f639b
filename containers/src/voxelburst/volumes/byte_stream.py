"""Bytes of a file that may be gzip, read once from front to end, bounded, with the checksum verified.

What a file is called decides nothing: the first two bytes say whether it is gzip. nibabel stops reading after
the last voxel and so never sees a wrong CRC; here the stream is read to its end (bad-inputs 30, 31, 32, 34).
"""

from __future__ import annotations

import zlib
from pathlib import Path
from types import TracebackType

from .refusal import Refusal

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
# Deflate cannot do better than 1032:1; what is declared beyond it cannot be in the file.
_DEFLATE_LIMIT = 1032
# Bytes behind the voxels that are read over: padding, or a trailer some tool has added.
_TRAILER_BYTES = 1 << 20

_SEND_AGAIN = "Copy the file again from where it came from and check it with `gzip -t`."


class ByteStream:
    """Reads a plain or gzip file.

    Args:
        path: the file.
        bomb_bytes: expanding to more than this ...
        bomb_ratio: ... at more than this many bytes for one is refused as a bomb.
    """

    def __init__(self, path: Path, *, bomb_bytes: int, bomb_ratio: int) -> None:
        self._file = path.open("rb")
        self.compressed_bytes = path.stat().st_size
        self._bomb_bytes = bomb_bytes
        self._bomb_ratio = bomb_ratio
        self._produced = 0
        self._pending = b""
        head = self._file.read(2)
        self._file.seek(0)
        self.is_gzip = head == _GZIP_MAGIC
        self._inflate = zlib.decompressobj(31) if self.is_gzip else None

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def expect(self, total_bytes: int) -> None:
        """Refuses, before anything is allocated, when the file cannot hold ``total_bytes`` or is a bomb."""
        holds = self.compressed_bytes * (_DEFLATE_LIMIT if self.is_gzip else 1)
        if total_bytes > holds + 64:
            raise _truncated(f"a file of {self.compressed_bytes} bytes", f"{total_bytes} bytes of content")
        self._check_bomb(total_bytes)

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes.

        Raises:
            Refusal: TruncatedFile, ChecksumWrong, GzipCorrupt, GzipBomb.
        """
        buffer = bytearray(count)
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def read_into(self, target: memoryview) -> None:
        """Fills ``target``."""
        filled = 0
        while filled < len(target):
            part = self._next(len(target) - filled)
            if not part:
                raise _truncated(
                    f"{self._produced} bytes", f"{self._produced - filled + len(target)} bytes of content"
                )
            target[filled : filled + len(part)] = part
            filled += len(part)

    def finish(self) -> int:
        """Reads to the end of the file, which verifies the checksum, and returns the bytes left over."""
        extra = 0
        while part := self._next(_CHUNK_BYTES):
            extra += len(part)
            if extra > _TRAILER_BYTES:
                raise Refusal(
                    "GzipBomb" if self.is_gzip else "TrailingBytes",
                    f"The file goes on for more than {_TRAILER_BYTES} bytes behind its last voxel.",
                    "Write the file again with a tool that sets the header's dimensions to its content.",
                    got=f"more than {_TRAILER_BYTES} bytes behind the voxels",
                    allowed=f"at most {_TRAILER_BYTES} bytes",
                )
        return extra

    def _next(self, most: int) -> bytes:
        if self._inflate is None:
            part = self._file.read(min(most, _CHUNK_BYTES))
            self._produced += len(part)
            return part
        while True:
            if self._inflate.eof and not self._next_member():
                return b""
            pending = self._inflate.unconsumed_tail or self._pending or self._file.read(_CHUNK_BYTES)
            self._pending = b""
            if not pending:
                raise _truncated("a gzip stream that stops in the middle", "a whole gzip stream")
            try:
                part = self._inflate.decompress(pending, min(most, _CHUNK_BYTES))
            except zlib.error as error:
                raise _corrupt(str(error)) from None
            self._produced += len(part)
            self._check_bomb(self._produced)
            if part:
                return part

    def _next_member(self) -> bool:
        """Gzip allows several members in a row; zero padding may follow the last."""
        assert self._inflate is not None
        rest = self._inflate.unused_data or self._pending or self._file.read(_CHUNK_BYTES)
        while rest and not rest.strip(b"\0"):
            rest = self._file.read(_CHUNK_BYTES)
        rest = rest.lstrip(b"\0")
        if not rest:
            return False
        if len(rest) < 2:
            rest += self._file.read(_CHUNK_BYTES)
        if not rest.startswith(_GZIP_MAGIC):
            raise _corrupt("bytes that are not gzip follow the gzip stream")
        self._inflate, self._pending = zlib.decompressobj(31), rest
        return True

    def _check_bomb(self, total_bytes: int) -> None:
        if (
            self.is_gzip
            and total_bytes > self._bomb_bytes
            and total_bytes > self._bomb_ratio * self.compressed_bytes
        ):
            ratio = total_bytes // max(self.compressed_bytes, 1)
            raise Refusal(
                "GzipBomb",
                f"The file expands to more than {self._bomb_bytes} bytes at {ratio} bytes for one.",
                "Check what wrote the file; crop the volume if it is real.",
                got=f"{ratio}:1 to {total_bytes} bytes",
                allowed=f"up to {self._bomb_ratio}:1 above {self._bomb_bytes} bytes",
            )


def _truncated(got: str, wanted: str) -> Refusal:
    return Refusal(
        "TruncatedFile", "The file ends before its last voxel.", _SEND_AGAIN, got=got, allowed=wanted
    )


def _corrupt(reason: str) -> Refusal:
    if "incorrect data check" in reason or "incorrect length check" in reason:
        return Refusal(
            "ChecksumWrong",
            "The content of the gzip file does not match the checksum at its end.",
            _SEND_AGAIN,
            got="another CRC-32 or length",
            allowed="the CRC-32 and length in the gzip trailer",
        )
    return Refusal(
        "GzipCorrupt",
        "The gzip stream is damaged.",
        _SEND_AGAIN,
        got=reason.removeprefix("Error -3 while decompressing data: "),
        allowed="a valid gzip stream",
    )
