"""The stored values of a slice, decoded: whole, in the header's signedness, MONOCHROME1 turned round."""

from __future__ import annotations

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID

from ..volumes.refusal import Refusal
from .slices import Slice

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class PixelReader:
    """Decodes slices; an object with many frames is read once for all of them that follow each other."""

    def __init__(self) -> None:
        self._of: object = None
        self._dataset: Dataset | None = None

    def read(self, slice_: Slice, which: str) -> NDArray:
        """values_yx as stored (before rescale).

        Raises:
            Refusal: CodecMissing, SliceTruncated, SliceUndecodable, PixelLayoutUnsupported.
        """
        syntax = slice_.source.transfer_syntax
        decoder = _decoder(syntax)
        dataset = self._load(slice_, which)
        try:
            stored_yx, _ = decoder.as_array(dataset, index=slice_.frame, raw=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            # The text of the error is left out: it may quote the header.
            if "less than expected" in str(error) or ("bytes" in str(error) and not syntax.is_encapsulated):
                raise _truncated(which) from None
            raise Refusal(
                "SliceUndecodable",
                f"{which} cannot be decoded.",
                "Export the series again; it may have been cut or damaged on the way.",
                got=f"{type(error).__name__} from the decoder of {syntax.name}",
                allowed="pixels that decode",
            ) from None
        if stored_yx.shape != slice_.shape:
            raise _truncated(which)
        return _inverted(stored_yx, dataset) if _is_inverted(dataset) else stored_yx

    def _load(self, slice_: Slice, which: str) -> Dataset:
        if self._of is not slice_.source:
            self._of = None
            try:
                dataset = pydicom.dcmread(slice_.source.path, force=True)
                dataset.file_meta.TransferSyntaxUID = slice_.source.transfer_syntax
                has_pixels = any(keyword in dataset for keyword in _PIXELS)
            except (OSError, MemoryError):
                raise
            except Exception:  # the header was read before: what is missing is behind it
                raise _truncated(which) from None
            if not has_pixels:
                raise _truncated(which)
            high, stored = dataset.get("HighBit"), dataset.get("BitsStored")
            if high is not None and stored is not None and high != stored - 1:
                raise Refusal(
                    "PixelLayoutUnsupported",
                    f"{which} keeps its values in the upper bits of its words.",
                    "Export the series again with HighBit = BitsStored - 1, as DICOM wants it since 2014.",
                    got=f"HighBit {high}, BitsStored {stored}",
                    allowed=f"HighBit {stored - 1}",
                )
            self._of, self._dataset = slice_.source, dataset
        assert self._dataset is not None
        return self._dataset


def _decoder(syntax: UID) -> Decoder:
    missing = Refusal(
        "CodecMissing",
        f"No decoder for {syntax.name if syntax.is_transfer_syntax else 'its transfer syntax'} is installed.",
        "Install the codec (python-gdcm, pylibjpeg-openjpeg, pyjpegls), or export the series uncompressed.",
        got=syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax",
        allowed="uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K",
    )
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise missing from None
    if not decoder.is_available:
        raise missing
    return decoder


def _is_inverted(dataset: Dataset) -> bool:
    return str(dataset.get("PhotometricInterpretation", "")).strip().upper() == "MONOCHROME1"


def _inverted(stored_yx: NDArray, dataset: Dataset) -> NDArray:
    """The stored values counted from the other end of their range: bright for dark (PS3.3 C.7.6.3.1.2)."""
    if stored_yx.dtype.kind == "f":
        return -stored_yx
    if stored_yx.dtype.kind == "i":
        return -1 - stored_yx
    return np.array((1 << int(dataset.BitsStored)) - 1).astype(stored_yx.dtype) - stored_yx


def _truncated(which: str) -> Refusal:
    return Refusal(
        "SliceTruncated",
        f"{which} ends before its last pixel.",
        "Copy or export the slice again.",
        got="fewer pixels than the header declares",
        allowed="rows x columns pixels",
    )
