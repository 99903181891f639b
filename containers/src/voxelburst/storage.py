"""Objects below a root URI (s3:// or file://), through fsspec. A write is atomic; nothing is renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import fsspec

from .errors import StageError


class Store:
    """Keys below a root URI that ends in a slash.

    ``local(key)`` gives a path to read: the object itself for file://, a copy in the scratch folder for s3://.
    """

    def __init__(self, root_uri: str) -> None:
        if not root_uri.endswith("/"):
            raise ValueError(f"root URI must end in a slash: {root_uri}")
        self.root_uri = root_uri
        self.is_local = root_uri.startswith("file://")
        if self.is_local:
            self._root = Path(unquote(urlparse(root_uri).path))
        else:
            self._fs, self._prefix = fsspec.core.url_to_fs(root_uri.rstrip("/"))
            self._scratch = Path(os.environ.get("VOXELBURST_SCRATCH") or tempfile.gettempdir())

    def _path(self, key: str) -> Path:
        path = self._root / key
        # Lexical: a dataset may be a tree of links, but no key may climb out of it.
        if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(self._root)):
            raise StageError("KeyOutsideRoot", "A key leads out of its root.", "Correct the key.", got=key)
        return path

    def exists(self, key: str) -> bool:
        return self._path(key).exists() if self.is_local else self._fs.exists(f"{self._prefix}/{key}")

    def read(self, key: str) -> bytes:
        try:
            if self.is_local:
                return self._path(key).read_bytes()
            return self._fs.cat_file(f"{self._prefix}/{key}")
        except FileNotFoundError:
            raise StageError(
                "ObjectMissing",
                f"{key.rsplit('/', 1)[-1]} does not exist where the stage expects it.",
                "Check that the stage that writes it has run, and resume the run.",
                got=key,
            ) from None

    def write(self, key: str, body: bytes | str) -> None:
        data = body.encode() if isinstance(body, str) else body
        if not self.is_local:
            self._fs.pipe_file(f"{self._prefix}/{key}", data)
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".write-", delete=False) as f:
            try:
                f.write(data)
                f.flush()
                os.fchmod(f.fileno(), 0o644)
                Path(f.name).replace(path)
            except BaseException:
                Path(f.name).unlink(missing_ok=True)
                raise

    def upload(self, source: Path, key: str) -> None:
        """Puts a local file at ``key``. The source is consumed for file:// (moved where the disk allows)."""
        if not self.is_local:
            self._fs.put_file(str(source), f"{self._prefix}/{key}")
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.replace(path)
        except OSError:  # another file system
            staged = path.with_name(f".write-{path.name}-{os.getpid()}")
            staged.write_bytes(source.read_bytes())
            staged.replace(path)

    def local(self, key: str) -> Path:
        """A path to read the object from; do not write to it."""
        if self.is_local:
            return self._path(key)
        path = self._copy(key)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged = path.with_name(f".read-{path.name}-{os.getpid()}")
            try:
                self._fs.get_file(f"{self._prefix}/{key}", str(staged))
            except FileNotFoundError:
                self.read(key)
            staged.replace(path)
        return path

    def _copy(self, key: str) -> Path:
        name = hashlib.sha256(f"{self.root_uri}{key}".encode()).hexdigest()[:16]
        return self._scratch / "voxelburst" / name / key.rsplit("/", 1)[-1]

    def scratch(self, key: str) -> Path:
        """A new path, on the store's own disk if that is local, for a file to be uploaded to ``key``."""
        if self.is_local:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.with_name(f".write-{os.getpid()}-{path.name}")
        folder = self._scratch / "voxelburst" / "out" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        return folder / key.replace("/", "_")

    def names(self, prefix: str) -> list[str]:
        """Names of the objects directly below a prefix that ends in a slash, sorted; folders are left out."""
        if self.is_local:
            folder = self._path(prefix)
            if not folder.is_dir():
                return []
            return sorted(p.name for p in folder.iterdir() if p.is_file())
        try:
            entries = self._fs.ls(f"{self._prefix}/{prefix}".rstrip("/"), detail=True)
        except FileNotFoundError:
            return []
        return sorted(e["name"].rsplit("/", 1)[-1] for e in entries if e["type"] == "file")

    def tree(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix that ends in a slash, at any depth, sorted."""
        if self.is_local:
            folder = self._path(prefix)
            found = [Path(at) / name for at, _, names in os.walk(folder) for name in names]
            return sorted(f"{prefix}{path.relative_to(folder).as_posix()}" for path in found)
        try:
            entries = self._fs.find(f"{self._prefix}/{prefix}".rstrip("/"))
        except FileNotFoundError:
            return []
        return sorted(name[len(self._prefix) + 1 :] for name in entries)

    def forget(self, key: str) -> None:
        """Removes the copy that ``local(key)`` may have made; the object itself stays."""
        if not self.is_local:
            self._copy(key).unlink(missing_ok=True)

    def read_json(self, key: str) -> Any:
        return json.loads(self.read(key))

    def write_json(self, key: str, value: Any) -> None:
        self.write(key, json.dumps(value, indent=1) + "\n")

    def read_lines(self, key: str) -> Iterator[Any]:
        """The values of a JSON Lines object."""
        for line in self.read(key).splitlines():
            if line.strip():
                yield json.loads(line)

    def write_lines(self, key: str, values: Iterable[Any]) -> None:
        self.write(key, "".join(json.dumps(value) + "\n" for value in values))


def open_uri(uri: str) -> bytes:
    """The object at a URI."""
    root, _, name = uri.rpartition("/")
    return Store(f"{root}/").read(name)
