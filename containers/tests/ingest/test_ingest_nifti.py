"""Every row of the bad inputs that a NIfTI can have: refused with its code, or converted right."""

from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from ingest_drop import AFFINE, Drop, image_zyx, label_zyx, save

Edit = Callable[..., None]


def spoil_image(voxels: np.ndarray, **kw: object) -> Callable[[Drop, Edit], None]:
    return lambda drop, edit: save(drop.image(), voxels, **kw)  # type: ignore[arg-type]


def spoil_label(voxels: np.ndarray, **kw: object) -> Callable[[Drop, Edit], None]:
    return lambda drop, edit: save(drop.label(), voxels, **kw)  # type: ignore[arg-type]


def header(**fields: object) -> Callable[[Drop, Edit], None]:
    return lambda drop, edit: edit(drop.image(), **fields)


def rewrite(change: Callable[[bytes], bytes], of: str = "image") -> Callable[[Drop, Edit], None]:
    """Changes the file's own bytes."""

    def spoil(drop: Drop, edit: Edit) -> None:
        path = drop.image() if of == "image" else drop.label()
        path.write_bytes(change(path.read_bytes()))

    return spoil


def with_value(value: float, dtype: type = np.float32) -> np.ndarray:
    voxels = image_zyx().astype(dtype)
    voxels[2, 3, 4] = value
    return voxels


def moved(voxels: float, axis: int = 0) -> np.ndarray:
    """The affine of a grid that lies some voxels further along an axis."""
    affine = AFFINE.copy()
    affine[:3, 3] += AFFINE[:3, axis] * voxels
    return affine


def sheared(by: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 1] = by * AFFINE[1, 1]
    return affine


def two_forms(shift_voxels: float) -> Callable[[Drop, Edit], None]:
    def spoil(drop: Drop, edit: Edit) -> None:
        image = nib.Nifti1Image(image_zyx().T, AFFINE)
        image.set_sform(AFFINE, code=1)
        image.set_qform(moved(shift_voxels), code=1)
        nib.save(image, drop.image())

    return spoil


def four_dimensional(drop: Drop, edit: Edit) -> None:
    save(drop.image(), np.stack([image_zyx(), image_zyx(seed=2)]))


def big_endian(drop: Drop, edit: Edit) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(image_zyx().T, AFFINE, header), drop.image())
    assert gzip.decompress(drop.image().read_bytes())[:4] == struct.pack(">i", 348)


def fractional(drop: Drop, edit: Edit) -> None:
    label = label_zyx().astype(np.float32)
    label[0, 0, 0] = 0.5
    save(drop.label(), label)


def unknown_value(value: int) -> Callable[[Drop, Edit], None]:
    label = label_zyx()
    label[0, 0, 0] = value
    return spoil_label(label)


def flip_byte(at: int) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        spoiled = bytearray(content)
        spoiled[at] ^= 0x55
        return bytes(spoiled)

    return flip


def two_members(content: bytes) -> bytes:
    plain = gzip.decompress(content)
    return gzip.compress(plain[:300]) + gzip.compress(plain[300:]) + bytes(64)


REFUSED = {
    "22 a 4D image where 3D is declared": (four_dimensional, "FourDimensional"),
    "23 forms that disagree by a voxel": (two_forms(1.0), "SformQformDisagree"),
    "23 forms that disagree by 0.02 voxel": (two_forms(0.02), "SformQformDisagree"),
    "24 both form codes 0": (header(sform_code=0, qform_code=0), "GeometryUndeclared"),
    "25 axes that are not perpendicular": (
        spoil_image(image_zyx(), affine=sheared(0.01)),
        "AxesNotOrthogonal",
    ),
    "26 a pixdim of 0": (header(pixdim=[1, 1.5, 0, 2, 0, 0, 0, 0]), "SpacingZero"),
    "26 a pixdim that is NaN": (header(pixdim=[1, 1.5, np.nan, 2, 0, 0, 0, 0]), "SpacingZero"),
    "27 a slope that is NaN": (header(scl_slope=np.nan, scl_inter=0), "ScaleInvalid"),
    "27 a slope that is infinite": (header(scl_slope=np.inf, scl_inter=0), "ScaleInvalid"),
    "27 an intercept that is NaN": (header(scl_slope=2, scl_inter=np.nan), "ScaleInvalid"),
    "28 a NaN voxel": (spoil_image(with_value(np.nan)), "NonFiniteVoxels"),
    "28 an infinite voxel": (spoil_image(with_value(-np.inf)), "NonFiniteVoxels"),
    "28 a float64 voxel beyond float32": (spoil_image(with_value(1e300, np.float64)), "NonFiniteVoxels"),
    "29 a constant image": (spoil_image(np.full((6, 7, 8), 40, np.int16)), "ConstantImage"),
    "30 a truncated .nii.gz": (rewrite(lambda b: b[: len(b) // 2]), "TruncatedFile"),
    "30 a .nii.gz without its last byte": (rewrite(lambda b: b[:-1]), "TruncatedFile"),
    "30 a truncated plain NIfTI": (rewrite(lambda b: gzip.decompress(b)[:-1]), "TruncatedFile"),
    "30 a truncated label": (rewrite(lambda b: b[:-4], of="label"), "TruncatedFile"),
    "31 a wrong CRC": (rewrite(flip_byte(-6)), "ChecksumWrong"),
    "31 a wrong length in the gzip trailer": (rewrite(flip_byte(-2)), "ChecksumWrong"),
    "31 a label with a wrong CRC": (rewrite(flip_byte(-6), of="label"), "ChecksumWrong"),
    "31 a damaged gzip stream": (rewrite(lambda b: b[:10] + b"\x07" + b[11:]), "GzipCorrupt"),
    "35 a label of another shape": (spoil_label(label_zyx((6, 7, 9))), "LabelShapeDiffers"),
    "35 a label of another spacing": (
        spoil_label(label_zyx(), affine=AFFINE @ np.diag([1, 1.1, 1, 1])),
        "LabelSpacingDiffers",
    ),
    "36 a label 0.02 voxel beside the image": (
        spoil_label(label_zyx(), affine=moved(0.02)),
        "LabelGeometryDiffers",
    ),
    "36 a label with its axes turned round": (
        spoil_label(label_zyx(), affine=AFFINE @ np.diag([-1, 1, 1, 1])),
        "LabelGeometryDiffers",
    ),
    "37 a label value that is not declared": (unknown_value(3), "LabelValueUnknown"),
    "37 a label value of 255": (unknown_value(255), "LabelValueUnknown"),
    "37 a negative label value": (
        spoil_label(-label_zyx().astype(np.int16)),
        "LabelValueUnknown",
    ),
    "37 a label with fractions": (fractional, "LabelFractional"),
    "39 an image that is not there": (lambda drop, edit: drop.image().unlink(), "ImageMissing"),
    "39 a label that is not there": (lambda drop, edit: drop.label().unlink(), "LabelMissing"),
    "39 a training case without a label": (
        lambda drop, edit: drop.lines[0].pop("label"),
        "LabelMissing",
    ),
    "a file that is no NIfTI": (rewrite(lambda b: b"PK\3\4" + bytes(1000)), "NotNifti"),
    "an empty file": (rewrite(lambda b: b""), "NotNifti"),
    "a label in another format": (
        lambda drop, edit: drop.lines[0].update(label={"key": "labelsTr/seg.dcm", "bytes": 1}),
        "LabelFormatUnsupported",
    ),
    "a flat image": (spoil_image(image_zyx((1, 7, 8))), "NotAVolume"),
    "a colour image": (header(datatype=128, bitpix=24), "VoxelTypeUnsupported"),
    "half of a .hdr and .img pair": (header(magic=b"ni1"), "NiftiPairUnsupported"),
    "lengths in metres": (header(xyzt_units=1), "UnitsNotMillimetres"),
    "an affine without a third axis": (
        header(srow_z=[0, 0, 0, 0], qform_code=0),
        "AffineInvalid",
    ),
    "a quaternion that is NaN beside a good sform": (
        header(sform_code=1, qform_code=1, quatern_b=np.nan),
        "AffineInvalid",
    ),
    "a qform's origin that is infinite": (
        header(sform_code=1, qform_code=1, qoffset_x=np.inf),
        "AffineInvalid",
    ),
    "voxels of a kilometre": (
        spoil_image(image_zyx(), affine=np.diag([1e6, 1e6, 1e6, 1])),
        "SpacingImplausible",
    ),
    "millimetres written as if they were metres": (
        spoil_image(image_zyx(), affine=np.diag([1e-3, 1e-3, 2e-3, 1])),
        "SpacingImplausible",
    ),
    "an offset that is NaN": (header(vox_offset=np.nan), "DimensionsInvalid"),
    "a dimension of 0": (header(dim=[3, 8, 0, 6, 1, 1, 1, 1]), "DimensionsInvalid"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refuses(row: str, drop: Drop, edit_header: Edit) -> None:
    spoil, code = REFUSED[row]
    drop.add()
    spoil(drop, edit_header)
    assert drop.code() == code


def test_33_refuses_giant_dimensions_before_allocating(drop: Drop, edit_header: Edit) -> None:
    drop.add()
    edit_header(drop.image(), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    tracemalloc.start()
    assert drop.code() == "DimensionsTooLarge"
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_33_refuses_dimensions_that_the_file_cannot_hold_before_allocating(
    drop: Drop, edit_header: Edit
) -> None:
    drop.add()
    edit_header(drop.image(), dim=[3, 600, 600, 600, 1, 1, 1, 1])
    tracemalloc.start()
    assert drop.code() == "TruncatedFile"
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_34_refuses_a_gzip_bomb_that_its_header_declares(drop: Drop) -> None:
    drop.add()
    head = nib.Nifti1Header()
    head.set_data_shape((1024, 1024, 1000))
    head.set_data_dtype(np.uint8)
    head.set_sform(AFFINE, code=1)
    head["magic"], head["vox_offset"], head["scl_slope"] = b"n+1", 352, 1
    # The megabyte that a gigabyte of zeros would make: it is refused before it is looked at.
    drop.image().write_bytes(gzip.compress(head.binaryblock + bytes(4)) + bytes(1_100_000))
    began = time.monotonic()
    assert drop.code() == "GzipBomb"
    assert time.monotonic() - began < 2


def test_34_refuses_a_gzip_bomb_behind_the_voxels(drop: Drop) -> None:
    drop.add()
    content = gzip.decompress(drop.image().read_bytes())
    drop.image().write_bytes(gzip.compress(content + bytes(64 << 20), compresslevel=1))
    assert drop.code() == "GzipBomb"


CONVERTED = {
    "22 a 4D image with one volume": (lambda d, e: save(d.image(), image_zyx()[None]), []),
    "23 forms that agree within 0.01 voxel": (two_forms(0.005), []),
    "27 a slope of 0": (header(scl_slope=0, scl_inter=np.nan), []),
    "32 a plain NIfTI named .gz": (rewrite(gzip.decompress), ["NameMisleads"]),
    "35 a label whose affine was rounded": (
        spoil_label(label_zyx(), affine=moved(0.004)),
        [],
    ),
    "36 a label 0.009 voxel beside the image": (spoil_label(label_zyx(), affine=moved(0.009)), []),
    "37 a label kept as floats": (spoil_label(label_zyx().astype(np.float32)), []),
    "38 a label without foreground": (spoil_label(np.zeros((6, 7, 8), np.uint8)), ["EmptyForeground"]),
    "44 an int16 image in the other byte order": (big_endian, []),
    "44 a float64 image": (spoil_image(image_zyx().astype(np.float64)), []),
    "44 an int64 image": (spoil_image(image_zyx().astype(np.int64)), []),
    "44 a NIfTI-2 image": (spoil_image(image_zyx(), kind=nib.Nifti2Image), []),
    "gzip in several members with padding": (
        rewrite(two_members),
        [],
    ),
    "a pixdim that is not the sform's": (
        header(pixdim=[1, 3, 3, 3, 0, 0, 0, 0], qform_code=0),
        ["PixdimIgnored"],
    ),
}


@pytest.mark.parametrize("row", CONVERTED)
def test_converts(row: str, drop: Drop, edit_header: Edit) -> None:
    spoil, warnings = CONVERTED[row]
    drop.add()
    spoil(drop, edit_header)
    assert drop.code() is None
    voxels_zyx, affine = drop.volume()
    assert np.array_equal(voxels_zyx, image_zyx())
    assert np.allclose(affine, AFFINE, atol=1e-5)
    assert drop.warnings() == warnings


def test_44_converts_an_image_whose_size_field_alone_is_in_the_other_byte_order(drop: Drop) -> None:
    drop.add()
    content = bytearray(gzip.decompress(drop.image().read_bytes()))
    content[:4] = struct.pack(">i", 348)
    drop.image().write_bytes(gzip.compress(bytes(content)))
    assert drop.code() is None
    assert np.array_equal(drop.volume()[0], image_zyx())


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "dtype"),
    [
        (np.uint8, 1, 0, "uint8"),
        (np.uint8, 2, -10, "int16"),
        (np.uint16, 1, -1024, "int16"),
        (np.int16, 1, -1024, "int16"),
        (np.int16, 400, 7, "int32"),
        (np.int32, 1, 0, "int32"),
        (np.int16, 0.5, 0, "float32"),
        (np.float64, 1, 0, "float32"),
    ],
)
def test_keeps_integers_where_scaling_gives_integers(
    drop: Drop, edit_header: Edit, stored: type, slope: float, inter: float, dtype: str
) -> None:
    drop.add()
    values = np.random.default_rng(3).integers(0, 200, (6, 7, 8)).astype(stored)
    save(drop.image(), values)
    edit_header(drop.image(), scl_slope=slope, scl_inter=inter)
    assert drop.code() is None
    voxels_zyx, _ = drop.volume()
    assert str(voxels_zyx.dtype) == drop.record().dtype == dtype
    assert np.allclose(voxels_zyx, values.astype(float) * slope + inter, rtol=1e-6)


def test_45_converts_volumes_whose_intensities_differ_by_orders_of_magnitude(drop: Drop) -> None:
    faint, bright = image_zyx().astype(np.float32) % 112, image_zyx().astype(np.float32) % 900 * 1900
    for case_id, voxels in (("faint", faint), ("bright", bright)):
        drop.add(case_id)
        save(drop.image(case_id), voxels)
    assert drop.run() == 0
    for case_id, voxels in (("faint", faint), ("bright", bright)):
        assert np.array_equal(drop.volume(case_id)[0], voxels)
        assert drop.record(case_id).channels[0].max == voxels[label_zyx() > 0].max()


def test_22_takes_a_4d_image_where_its_volumes_are_the_declared_channels(drop: Drop) -> None:
    drop.channels = ["T1", "T2"]
    drop.add()
    save(drop.image(), np.stack([image_zyx(), image_zyx(seed=2)]))
    assert drop.code() is None
    assert np.array_equal(drop.volume(channel=1)[0], image_zyx(seed=2))
    assert len(drop.record().channels) == 2


def test_takes_one_file_a_channel_and_refuses_channels_on_different_grids(drop: Drop) -> None:
    drop.channels = ["T1", "T2"]
    for case_id, affine in (("good", AFFINE), ("bad", moved(0.5))):
        drop.add(case_id)
        second = drop.image(f"{case_id}_1")
        save(second, image_zyx(seed=5), affine)
        drop.lines[-1]["images"].append({"key": f"imagesTr/{second.name}", "bytes": 1})
    assert drop.run() == 0
    assert [entry["code"] for entry in drop.quarantined()] == ["ChannelGeometryDiffers"]
    assert np.array_equal(drop.volume("good", channel=1)[0], image_zyx(seed=5))


def test_refuses_another_number_of_images_than_channels(drop: Drop) -> None:
    drop.channels = ["T1", "T2", "FLAIR"]
    drop.add()
    drop.lines[0]["images"] *= 2
    assert drop.code() == "ChannelsDiffer"
