"""Files of a series that are cut, bare, foreign or dangerous, and folders that are not what they seem."""

from __future__ import annotations

from collections.abc import Callable

import ct_series
import pytest
from ct_series import slices
from dicom_case import assert_volume, code, compressed
from ingest_drop import Drop
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_18_one_truncated_slice_is_refused_and_named(drop: Drop, syntax: str | None) -> None:
    series = compressed(syntax)(slices()) if syntax else slices()
    folder = drop.data / "imagesTr/scan"
    ct_series.write(folder, series)
    third = folder / "004.dcm"  # names run against the slices
    third.write_bytes(third.read_bytes()[:-70])
    assert code(drop) in ("SliceTruncated", "SliceUndecodable")
    assert "Slice 3 of 6" in drop.quarantined()[0]["message"]


def test_18_a_slice_cut_in_its_header_is_refused(drop: Drop) -> None:
    ct_series.write(drop.data / "imagesTr/scan", slices())
    third = drop.data / "imagesTr/scan/004.dcm"
    third.write_bytes(third.read_bytes()[:150])
    assert code(drop) == "DicomUnreadable"


def strip_preamble(content: bytes) -> bytes:
    return content[132:]


def strip_meta(content: bytes) -> bytes:
    """Leaves the bare dataset: preamble and file meta group are gone."""
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


@pytest.mark.parametrize("strip", [strip_preamble, strip_meta])
@pytest.mark.parametrize("implicit", [False, True])
def test_19_files_without_preamble_or_meta_are_read(
    drop: Drop, strip: Callable[[bytes], bytes], implicit: bool
) -> None:
    series = slices()
    if implicit:
        for dataset in series:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    folder = drop.data / "imagesTr/scan"
    ct_series.write(folder, series)
    for path in folder.iterdir():
        path.write_bytes(strip(path.read_bytes()))
    assert code(drop) is None
    assert_volume(drop)


def test_19_a_value_that_breaks_its_type_is_refused_by_its_keyword(drop: Drop) -> None:
    folder = drop.data / "imagesTr/scan"
    ct_series.write(folder, slices())
    spoiled = folder / "002.dcm"
    spoiled.write_bytes(spoiled.read_bytes().replace(b"-10.000000\\-20.000000", b"-10.0mm000\\-20.000000"))
    assert code(drop) == "DicomAttributeInvalid"
    assert "ImagePositionPatient" in drop.quarantined()[0]["message"]


def test_19_a_file_that_is_no_dicom_is_refused_when_named_so_and_skipped_otherwise(drop: Drop) -> None:
    folder = drop.data / "imagesTr/scan"
    ct_series.write(folder, slices())
    (folder / "notes.txt").write_text("the table was moved between the slices")
    (folder / ".DS_Store").write_bytes(bytes(100))
    assert code(drop) is None
    assert [w.message for w in drop.record().warnings] == ["Skipped: 1 file that is not DICOM."]
    (folder / "900.dcm").write_text("this is not DICOM at all, whatever it is called")
    drop.lines[0]["caseHash"] = "1" * 64
    assert code(drop) == "DicomUnreadable"


@pytest.mark.parametrize("magic", [b"MZ\x90\0", b"\x7fELF", b"#!/bin/sh\n"])
def test_41_a_program_in_the_preamble_is_refused(drop: Drop, magic: bytes) -> None:
    folder = drop.data / "imagesTr/scan"
    ct_series.write(folder, slices())
    path = folder / "003.dcm"
    path.write_bytes(magic + path.read_bytes()[len(magic) :])
    assert code(drop) == "ExecutablePreamble"


def test_41_a_tiff_header_in_the_preamble_is_allowed(drop: Drop) -> None:
    folder = drop.data / "imagesTr/scan"
    ct_series.write(folder, slices())
    for path in folder.iterdir():
        path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert code(drop) is None


def test_a_series_is_found_at_any_depth_below_its_folder(drop: Drop) -> None:
    ct_series.write(drop.data / "imagesTr/scan/study/series", slices())
    assert code(drop) is None
    assert_volume(drop)


def test_a_folder_that_is_not_there_is_missing(drop: Drop) -> None:
    drop.line("case-1", "imagesTr/scan/", label=None, split="test")
    assert drop.code() == "ImageMissing"


def test_a_folder_declared_as_a_file_is_refused(drop: Drop) -> None:
    ct_series.write(drop.data / "imagesTr/scan", slices())
    drop.line("case-1", "imagesTr/scan", label=None, split="test")
    assert drop.code() == "NotNifti"
