"""Every row of the bad inputs that a DICOM series can have: refused with its code, or converted right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ct_series
import numpy as np
import pydicom
import pytest
from ct_series import DISTANCE, ORIGIN, hounsfield_zyx, place, slices, store
from dicom_case import Series, assert_volume, compressed, ingest
from ingest_drop import Drop, save
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HEVCMP51,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)


def at(z_mm: float) -> np.ndarray:
    return ORIGIN + np.array([0, 0, z_mm])


def positions(*along: float) -> Callable[[Series], Series]:
    def spoil(series: Series) -> Series:
        for dataset, z in zip(series, along, strict=False):
            place(dataset, at(z))
        return series

    return spoil


def each(**attributes: object) -> Callable[[Series], Series]:
    def spoil(series: Series) -> Series:
        for dataset in series:
            for name, value in attributes.items():
                setattr(dataset, name, value)
        return series

    return spoil


def one(number: int, **attributes: object) -> Callable[[Series], Series]:
    def spoil(series: Series) -> Series:
        for name, value in attributes.items():
            setattr(series[number], name, value)
        return series

    return spoil


def without(keyword: str) -> Callable[[Series], Series]:
    def spoil(series: Series) -> Series:
        for dataset in series:
            delattr(dataset, keyword)
        return series

    return spoil


def tilted(degrees: float) -> Callable[[Series], Series]:
    cos, sin = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return each(ImageOrientationPatient=[1, 0, 0, 0, round(cos, 8), round(-sin, 8)])


def twice_with_other_voxels(series: Series) -> Series:
    copy = slices()[2]
    store(copy, hounsfield_zyx(seed=9)[0].astype(int) + 1024)
    copy.SOPInstanceUID = generate_uid()
    return [*series, copy]


def half_sagittal(series: Series) -> Series:
    for dataset in series[3:]:
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return series


def overlaid(group: int) -> Callable[[Series], Series]:
    def spoil(series: Series) -> Series:
        rows, columns = series[2].Rows, series[2].Columns
        for element, vr, value in (
            (0x0010, "US", rows),
            (0x0011, "US", columns),
            (0x0040, "CS", "G"),
            (0x0050, "SS", [1, 1]),
            (0x0100, "US", 1),
            (0x0102, "US", 0),
            (0x3000, "OW", bytes((rows * columns + 7) // 8)),
        ):
            series[2].add_new((group, element), vr, value)
        return series

    return spoil


REFUSED: dict[str, tuple[Callable[[Series], Series], str]] = {
    "1 several series in one folder": (lambda s: s + slices(series="another"), "SeveralSeries"),
    "2 as many slices of another orientation": (half_sagittal, "SliceOrientationsDiffer"),
    "3 a missing slice": (lambda s: s[:2] + s[3:], "SlicesMissing"),
    "3 two missing slices in two places": (lambda s: [s[0], s[2], s[3], s[5]], "SlicesMissing"),
    "4 unequal slice spacing": (positions(0, 2.5, 5, 7.8, 10, 12.5), "SliceSpacingUneven"),
    "4 a spacing that changes by 3 %": (positions(0, 2.5, 5, 7.575, 10.15, 12.725), "SliceSpacingUneven"),
    "4 whole millimetres that differ by one": (positions(0, 1, 2, 4, 5, 6.5), "SliceSpacingUneven"),
    "5 gantry tilt": (tilted(12), "GantryTilt"),
    "5 a small gantry tilt": (tilted(1), "GantryTilt"),
    "7 all slices at one position": (positions(5, 5, 5, 5, 5, 5), "SlicesAtOnePlace"),
    "8 too few slices": (lambda s: s[:3], "TooFewSlices"),
    "8 one slice": (lambda s: s[:1], "TooFewSlices"),
    "10 other voxels at the same position": (twice_with_other_voxels, "DuplicateSlicesDiffer"),
    "20 nothing but secondary captures": (
        each(SOPClassUID=SecondaryCaptureImageStorage),
        "NoVolumeInFolder",
    ),
    "a slice moved sideways": (
        lambda s: one(3, ImagePositionPatient=["-7", "-20", "42.5"])(s),
        "SlicePositionsScattered",
    ),
    "slices without a position": (without("ImagePositionPatient"), "GeometryMissing"),
    "slices without an orientation": (without("ImageOrientationPatient"), "GeometryMissing"),
    "slices without a pixel spacing": (without("PixelSpacing"), "GeometryMissing"),
    "a pixel spacing of 0": (each(PixelSpacing=[0, 0.7]), "DicomAttributeInvalid"),
    "a rescale slope of 0": (one(1, RescaleSlope="0"), "DicomAttributeInvalid"),
    "an orientation that is not perpendicular": (
        each(ImageOrientationPatient=[1, 0, 0, 0.1, 0.995, 0]),
        "AxesNotOrthogonal",
    ),
    "pixel spacings that differ": (one(2, PixelSpacing=[0.8, 0.8]), "SliceSpacingsDiffer"),
    "text burned into the pixels": (one(0, BurnedInAnnotation="YES"), "BurnedInAnnotation"),
    "an overlay plane": (overlaid(0x6000), "OverlayPlanes"),
    "an overlay plane in the last of its groups": (overlaid(0x601E), "OverlayPlanes"),
    "a modality LUT in place of a rescale": (
        one(2, ModalityLUTSequence=[Dataset()]),
        "ModalityLutUnsupported",
    ),
    "slices of two patients": (one(0, PatientID="Z-18"), "SeveralPatients"),
    "values in the upper bits": (each(HighBit=15), "PixelLayoutUnsupported"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refuses(row: str, drop: Drop) -> None:
    spoil, expected = REFUSED[row]
    assert ingest(drop, spoil(slices())) == expected


def jitter(series: Series) -> Series:
    noise = np.random.default_rng(5).normal(0, 2e-4, (len(series), 3))
    for z, dataset in enumerate(series):
        place(dataset, at(z * DISTANCE) + noise[z])
    return series


def localizer(series: Series) -> Series:
    scout = slices()[0]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    scout.SOPInstanceUID = generate_uid()
    return [scout, *series]


def unmarked_localizer(series: Series) -> Series:
    scout = localizer(series)[0]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return [*series, scout]


def localizer_series(series: Series) -> Series:
    scout = localizer(series)[0]
    scout.SeriesInstanceUID = generate_uid()
    return [*series, scout]


def other_objects(series: Series) -> Series:
    structures = slices()[0]
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(structures, keyword)
    structures.SOPClassUID = RTStructureSetStorage
    capture = slices()[0]
    capture.SOPClassUID = SecondaryCaptureImageStorage
    colour = slices()[0]
    colour.PhotometricInterpretation, colour.SamplesPerPixel = "RGB", 3
    for item in (structures, capture, colour):
        item.SeriesInstanceUID, item.SOPInstanceUID = generate_uid(), generate_uid()
    return [structures, *series, capture, colour]


def same_twice(series: Series) -> Series:
    copy = slices()[2]
    copy.SOPInstanceUID = generate_uid()
    return [*series, copy]


def mixed_intercepts(series: Series) -> Series:
    for z, dataset in enumerate(series):
        dataset.RescaleIntercept = str(-1024 - z)
        store(dataset, hounsfield_zyx()[z].astype(int) + 1024 + z)
    return series


def monochrome1(series: Series) -> Series:
    for z, dataset in enumerate(series):
        store(dataset, 4095 - (hounsfield_zyx()[z].astype(int) + 1024))
        dataset.PhotometricInterpretation = "MONOCHROME1"
    return series


def signed_12_bits(series: Series) -> Series:
    for z, dataset in enumerate(series):
        # Two's complement in 12 bits, the upper four left at 0 as some scanners do.
        store(dataset, hounsfield_zyx()[z].astype(int) & 0xFFF, signed=True)
        dataset.RescaleIntercept = "0"
    return series


def dirty_upper_bits(series: Series) -> Series:
    for z, dataset in enumerate(series):
        store(dataset, (hounsfield_zyx()[z].astype(int) + 1024) | 0xA000)  # an overlay lives there
    return series


CONVERTED: dict[str, tuple[Callable[[Series], Series], list[str]]] = {
    "slices in any order": (lambda s: [s[i] for i in (3, 0, 5, 1, 4, 2)], []),
    "2 a localizer under the volume's UID": (localizer, ["LocalizerDropped"]),
    "2 a localizer that only its orientation gives away": (unmarked_localizer, ["LocalizerDropped"]),
    "a localizer as a series of its own": (localizer_series, ["ObjectsSkipped"]),
    "6 rounding jitter in positions": (jitter, []),
    "9 no InstanceNumber": (without("InstanceNumber"), []),
    "9 the same InstanceNumber on every slice": (each(InstanceNumber=1), []),
    "10 a slice that occurs twice": (same_twice, ["DuplicateSlicesDropped"]),
    "12 another intercept on every slice": (mixed_intercepts, []),
    "13 MONOCHROME1": (monochrome1, []),
    "14 signed 12 bits in 16": (signed_12_bits, []),
    "14 an overlay in the upper bits": (dirty_upper_bits, []),
    "17 RLE": (compressed(RLELossless), []),
    "17 JPEG-LS": (compressed(JPEGLSLossless), []),
    "17 JPEG 2000": (compressed(JPEG2000Lossless), []),
    "20 other objects in the study": (other_objects, ["ObjectsSkipped"]),
    "a series without UIDs": (without("SeriesInstanceUID"), []),
    "a series compressed with loss before": (each(LossyImageCompression="01"), ["LossyCompression"]),
}


@pytest.mark.parametrize("row", CONVERTED)
def test_converts(row: str, drop: Drop) -> None:
    spoil, warnings = CONVERTED[row]
    assert ingest(drop, spoil(slices())) is None
    assert_volume(drop)
    assert drop.warnings() == warnings
    assert drop.record().source.slices == 6


def test_20_names_what_it_skips(drop: Drop) -> None:
    assert ingest(drop, other_objects(slices())) is None
    (warning,) = drop.record().warnings
    assert warning.message == "Skipped: 1 RT Structure Set, 1 Secondary Capture, 1 colour image (RGB)."


def test_6_positions_rounded_to_tenths_are_one_spacing(drop: Drop) -> None:
    series = slices()
    for z, dataset in enumerate(series):
        place(dataset, at(z * 1.25), digits=1)
    assert ingest(drop, series) is None
    assert_volume(drop, distance=drop.volume()[1][2, 2])
    assert drop.volume()[1][2, 2] == pytest.approx(1.25, abs=0.02)


def test_11_enhanced_multi_frame_is_sorted_and_placed(drop: Drop) -> None:
    dataset = ct_series.enhanced(hounsfield_zyx(), [4, 0, 2, 5, 1, 3])
    assert ingest(drop, [dataset]) is None
    assert_volume(drop)


def test_11_multi_frame_without_functional_groups_is_refused(drop: Drop) -> None:
    dataset = ct_series.enhanced(hounsfield_zyx(), [0, 1, 2, 3, 4, 5])
    del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
    assert ingest(drop, [dataset]) == "GeometryMissing"


def test_12_fractional_slopes_that_differ_from_slice_to_slice_give_floats(drop: Drop) -> None:
    series = slices()
    slopes = [0.001 * (z + 1) for z in range(6)]
    for z, dataset in enumerate(series):
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slopes[z]:.3f}", f"{z}.5"
    assert ingest(drop, series) is None
    expected = [(hounsfield_zyx()[z] + 1024.0) * slopes[z] + z + 0.5 for z in range(6)]
    assert np.allclose(drop.volume()[0], expected, rtol=1e-6)
    assert drop.record().dtype == "float32"


def test_13_monochrome1_of_signed_values_is_inverted_within_them(drop: Drop) -> None:
    series = slices()
    for z, dataset in enumerate(series):
        store(dataset, -1 - hounsfield_zyx()[z].astype(int), signed=True)
        dataset.PhotometricInterpretation, dataset.RescaleIntercept = "MONOCHROME1", "0"
    assert ingest(drop, series) is None
    assert_volume(drop)


def test_15_a_rescale_that_changes_signedness_widens_where_it_must(drop: Drop) -> None:
    wide = hounsfield_zyx().astype(np.int32) + np.int32(30_000)
    series = slices()
    for z, dataset in enumerate(series):
        store(dataset, wide[z] + 20_000, bits=16)
        dataset.RescaleIntercept = "-50000"
    assert ingest(drop, series) is None
    assert_volume(drop, wide - 30_000)


def test_16_jpeg_2000_with_another_sign_than_its_header_follows_the_header(drop: Drop) -> None:
    source = pydicom.dcmread(get_testdata_file("J2K_pixelrep_mismatch.dcm", download=False))
    expected = get_decoder(source.file_meta.TransferSyntaxUID).as_array(source, raw=True)[0]
    # Unsigned in its codestream, signed in its header; -2000 is the padding outside the field of view.
    assert (source.PixelRepresentation, expected[0, 0]) == (1, -2000)
    series = slices()
    for dataset in series:
        for keyword in ("Rows", "Columns", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
            dataset[keyword] = source[keyword]
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
        dataset.RescaleIntercept = "0"
    assert ingest(drop, series) is None
    assert np.array_equal(drop.volume()[0][3], expected)


def test_17_a_transfer_syntax_without_decoder_is_refused_by_its_name(drop: Drop) -> None:
    series = slices()
    for dataset in series:
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = HEVCMP51
    assert ingest(drop, series) == "CodecMissing"
    assert "HEVC" in drop.quarantined()[0]["got"]


def test_17_a_codec_that_is_not_installed_is_refused_by_its_name(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_decoder(JPEG2000Lossless), "_available", {})
    assert ingest(drop, compressed(JPEG2000Lossless)(slices())) == "CodecMissing"
    assert "JPEG 2000" in drop.quarantined()[0]["message"]


def test_slices_of_different_sizes_are_refused(drop: Drop) -> None:
    series = slices()
    store(series[2], np.zeros((33, 36)))
    assert ingest(drop, series) == "SliceShapesDiffer"


def test_the_recipe_may_allow_fewer_slices(drop: Drop) -> None:
    drop.min_slices = 2
    assert ingest(drop, slices()[:2]) is None


def test_a_label_drawn_on_the_series_lies_on_its_grid(drop: Drop) -> None:
    ct_series.write(drop.data / "imagesTr/scan", slices())
    label = np.zeros((6, *ct_series.SHAPE), np.uint8)
    label[2:4, 3:6, 4:8] = 1
    save(drop.label(), label, ct_series.affine())
    drop.line("case-1", "imagesTr/scan/")
    assert drop.code() is None
    assert drop.record().label_voxels == {"0": label.size - 24, "1": 24, "2": 0}


def test_dicom_that_is_no_image_alone_is_refused_and_named(drop: Drop, tmp_path: Path) -> None:
    structures = other_objects(slices())[0]
    assert ingest(drop, [structures]) == "NoVolumeInFolder"
    assert drop.quarantined()[0]["got"] == "1 RT Structure Set"
