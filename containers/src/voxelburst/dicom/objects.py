"""The objects in a folder: which are slices of a volume, which are skipped by name, which condemn the case.

Only headers are read. Attributes that identify somebody are not looked at, except PatientID and the UIDs that
say what belongs together; neither is ever part of a message.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..storage import Store
from ..volumes.refusal import Refusal

# DICOM PS3.4 B.5: storage classes with pixels that are no slices of a volume.
_NOT_A_VOLUME = {
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.1": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.3": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.3.1": "Ultrasound Multi-frame",
    "1.2.840.10008.5.1.4.1.1.6.1": "Ultrasound",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.481.1": "RT Image",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT Dose",
    "1.2.840.10008.1.3.10": "Media Storage Directory",
}
# The preamble may hold a TIFF header; a program in it makes the file run when it is opened (CVE-2019-11687).
_PROGRAMS = (
    b"MZ",
    b"\x7fELF",
    b"#!",
    b"\xfe\xed\xfa",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)
# DICOM PS3.5 7.6: repeating groups. Only planes of their own are meant: overlay bits inside the pixels'
# words, above HighBit, have no OverlayData, and decoding masks them.
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
# What this module and series.py look at; slices.py names the attribute when one of its own is damaged.
_READ_HERE = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "PatientID",
    "ImageType",
    "PhotometricInterpretation",
    "BurnedInAnnotation",
    "LossyImageCompression",
)


@dataclass(frozen=True, kw_only=True)
class DicomObject:
    """One file: its header, and where its pixels are."""

    header: FileDataset
    path: Path

    @property
    def is_localizer(self) -> bool:
        kinds = self.header.get("ImageType") or []
        kinds = [kinds] if isinstance(kinds, str) else kinds
        return "LOCALIZER" in [str(kind).strip().upper() for kind in kinds]

    @property
    def transfer_syntax(self) -> UID:
        return self.header.file_meta.TransferSyntaxUID


@dataclass(kw_only=True)
class Folder:
    """Slices by series (SeriesInstanceUID), and the kinds of what was skipped with their numbers."""

    series: dict[str, list[DicomObject]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def skipped_text(self) -> str:
        return ", ".join(f"{n} {kind}" for kind, n in sorted(self.skipped.items()))


@contextmanager
def quietly() -> Iterator[None]:
    """pydicom's warnings quote values of the header, which may be a name: none of them may reach the log."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def read_folder(dataset: Store, prefix: str) -> Folder:
    """Reads the headers of all objects below a prefix, at any depth: archives nest studies and series.

    Raises:
        Refusal: ImageMissing, ExecutablePreamble, DicomUnreadable, BurnedInAnnotation, OverlayPlanes.
    """
    keys = [key for key in dataset.tree(prefix) if not key.rsplit("/", 1)[-1].startswith(".")]
    if not keys:
        raise Refusal(
            "ImageMissing",
            "The folder of DICOM that dataset.json names is empty or does not exist.",
            "Upload the series' files into that folder, or correct its path in dataset.json.",
            got="no objects",
            allowed="the files of one series",
        )
    folder = Folder()
    for number, key in enumerate(keys, start=1):
        path = dataset.local(key)
        header = _read_header(path, f"File {number} of {len(keys)} (by name)")
        if header is None:
            folder.skipped["file that is not DICOM"] += 1
            continue
        kind = _kind_to_skip(header)
        if kind:
            folder.skipped[kind] += 1
            continue
        if str(header.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            raise Refusal(
                "BurnedInAnnotation",
                f"File {number} of {len(keys)} (by name) says that text is burned into its pixels.",
                "Give the series without annotations: burned-in text may name the patient.",
                got="BurnedInAnnotation YES",
                allowed="NO, or absent",
            )
        overlays = sum((group, 0x3000) in header for group in _OVERLAY_GROUPS)
        if overlays:
            raise Refusal(
                "OverlayPlanes",
                f"File {number} of {len(keys)} (by name) carries overlays beside its pixels.",
                "Give the series without overlays (groups 60xx): their text may name the patient.",
                got=f"{overlays} overlay planes" if overlays > 1 else "1 overlay plane",
                allowed="no OverlayData (60xx,3000)",
            )
        series = str(header.get("SeriesInstanceUID", ""))
        folder.series.setdefault(series, []).append(DicomObject(header=header, path=path))
    return folder


def _read_header(path: Path, which: str) -> FileDataset | None:
    """The header of a DICOM file, or None for a file that is something else."""
    with path.open("rb") as file:
        start = file.read(132)
    is_dicom = start[128:] == b"DICM"
    if is_dicom and start.startswith(_PROGRAMS):
        raise Refusal(
            "ExecutablePreamble",
            f"{which} carries the start of a program in its preamble.",
            "Find out where the file comes from; overwrite its first 128 bytes with zeros to keep it.",
            got="the magic number of an executable in the first 128 bytes",
            allowed="zeros or a TIFF header",
        )
    unreadable = Refusal(
        "DicomUnreadable",
        f"{which} cannot be read as DICOM.",
        "Export the series again, or remove the file when it does not belong to it.",
        got=f"{path.stat().st_size} bytes that are no DICOM dataset",
        allowed="a DICOM file",
    )
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        # pydicom parses values when they are asked for: damaged ones must show here and not later.
        for keyword in _READ_HERE:
            header.get(keyword)
        known = "SOPClassUID" in header or ("Rows" in header and "Columns" in header)
    except (OSError, MemoryError):
        raise
    except Exception:
        raise unreadable from None
    if not known:
        if is_dicom or path.suffix.lower() in (".dcm", ".ima"):
            raise unreadable
        return None
    if "TransferSyntaxUID" not in header.file_meta:
        # No file meta: pydicom has found the encoding from the first element.
        implicit, little = header.original_encoding
        header.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian
            if implicit
            else (ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
        )
    return header


def _kind_to_skip(header: FileDataset) -> str | None:
    """What an object is called that is no slice of a volume; None for a slice."""
    sop_class = UID(str(header.get("SOPClassUID") or ""))
    if "Rows" in header and "Columns" in header:
        photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2")).strip().upper()
        if photometric not in ("MONOCHROME1", "MONOCHROME2"):
            return "colour image (RGB)" if photometric == "RGB" else "colour image"
        return _NOT_A_VOLUME.get(sop_class)
    # The name of a private class is its UID: not said.
    return sop_class.name.removesuffix(" Storage") if sop_class in UID_dictionary else "object without pixels"
