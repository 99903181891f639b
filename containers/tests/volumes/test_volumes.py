"""Volumes in memory and on disk: nothing is lost or moved on the way."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from voxelburst.volumes import Refusal, Volume, geometry, read_canonical, write_canonical, write_mask
from voxelburst.volumes.canonical import rounded_affine
from voxelburst.volumes.fingerprint import intensities, nonzero_box
from voxelburst.volumes.volume import compact

SHAPE = (4, 5, 6)
TYPES = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32]


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any orthogonal grid: turned, mirrored, anisotropic."""
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.1, 8)] * 3))
    mirrored = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * mirrored
    affine[:3, 3] = draw(st.tuples(*[st.floats(-900, 900)] * 3))
    return affine


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), dtype=st.sampled_from(TYPES), seed=st.integers(0, 2**31))
def test_a_volume_survives_the_way_to_disk_and_back(
    tmp_path: Path, affine: np.ndarray, dtype: type, seed: int
) -> None:
    voxels_zyx = np.random.default_rng(seed).integers(0, 100, SHAPE).astype(dtype)
    path = tmp_path / "v.nii.gz"
    write_canonical(path, Volume(voxels_zyx=voxels_zyx, affine=affine))
    found = read_canonical(path)
    assert found.voxels_zyx.dtype == dtype
    assert np.array_equal(found.voxels_zyx, voxels_zyx)
    assert np.array_equal(found.affine, rounded_affine(affine))
    assert geometry.corner_shift_voxels(affine, found.affine, (6, 5, 4)) < 0.005
    # nibabel, which shares no code with the reader here, sees the same in both of the header's forms.
    image = nib.load(path)
    assert np.array_equal(np.asarray(image.dataobj).T, voxels_zyx)
    assert geometry.corner_shift_voxels(affine, image.header.get_sform(), (6, 5, 4)) < 0.005
    if image.header["qform_code"]:
        assert geometry.corner_shift_voxels(affine, image.header.get_qform(), (6, 5, 4)) <= 0.005
    assert np.allclose(image.header.get_zooms(), found.spacing_mm_zyx[::-1], rtol=1e-5)


def near_half_turn(degrees: float) -> np.ndarray:
    """An LPS grid, turned by a little more."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 180 + degrees, degrees=True).as_matrix() * 0.7
    affine[:3, 3] = 170, 160, -400
    return affine


@pytest.mark.parametrize("degrees", [0, 0.001, 0.01, 0.03, 0.06, 0.1, 1])
def test_a_quaternion_that_cannot_say_what_the_sform_says_is_not_written(
    tmp_path: Path, degrees: float
) -> None:
    voxels_zyx = np.zeros((2, 512, 512), np.uint8)
    voxels_zyx[1, 2, 3] = 1
    path = tmp_path / "v.nii.gz"
    write_canonical(path, Volume(voxels_zyx=voxels_zyx, affine=near_half_turn(degrees)))
    header = nib.load(path).header
    shift = geometry.corner_shift_voxels(header.get_sform(), header.get_qform(), (512, 512, 2))
    assert bool(header["qform_code"]) == (shift <= 0.005)
    assert read_canonical(path).voxels_zyx.any()


@pytest.mark.parametrize("degrees", [0.001, 0.01, 0.03, 0.06, 0.1, 1])
def test_forms_that_only_rounding_tells_apart_agree(tmp_path: Path, degrees: float) -> None:
    image = nib.Nifti1Image(np.eye(512, dtype=np.uint8)[..., None].repeat(2, 2), near_half_turn(degrees))
    image.set_sform(near_half_turn(degrees), code=1)
    image.set_qform(near_half_turn(degrees), code=1)
    nib.save(image, tmp_path / "v.nii.gz")
    assert np.allclose(read_canonical(tmp_path / "v.nii.gz").affine, near_half_turn(degrees), atol=1e-4)


def test_forms_turned_against_each_other_are_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.eye(512, dtype=np.uint8)[..., None].repeat(2, 2), near_half_turn(0))
    image.set_sform(near_half_turn(0), code=1)
    image.set_qform(near_half_turn(0.2), code=1)
    nib.save(image, tmp_path / "v.nii.gz")
    with pytest.raises(Refusal) as caught:
        read_canonical(tmp_path / "v.nii.gz")
    assert caught.value.code == "SformQformDisagree"


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = Volume(voxels_zyx=np.arange(120, dtype=np.int16).reshape(SHAPE), affine=np.eye(4))
    digests = [write_canonical(tmp_path / name, volume) for name in ("a.nii.gz", "b.nii.gz")]
    assert digests[0] == digests[1]
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_mask_is_written_as_bytes_in_the_grid_of_its_image(tmp_path: Path) -> None:
    mask_zyx = (np.arange(120).reshape(SHAPE) % 3).astype(np.int64)
    write_mask(tmp_path / "m.nii.gz", mask_zyx, np.diag([2.0, 3, 4, 1]))
    image = nib.load(tmp_path / "m.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj).T, mask_zyx)
    assert image.header.get_zooms() == (2, 3, 4)


def test_a_canonical_volume_that_was_damaged_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    write_canonical(path, Volume(voxels_zyx=np.arange(120, dtype=np.int16).reshape(SHAPE), affine=np.eye(4)))
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Refusal, match="checksum"):
        read_canonical(path)


@settings(max_examples=60, deadline=None)
@given(affines(), st.tuples(*[st.floats(-3, 3)] * 3))
def test_a_grid_moved_by_so_many_voxels_is_that_far_away(
    affine: np.ndarray, voxels: tuple[float, ...]
) -> None:
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array(voxels)
    found = geometry.corner_shift_voxels(affine, moved, (6, 5, 4))
    assert found == pytest.approx(max(map(abs, voxels)), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(affines())
def test_spacing_is_the_length_of_the_axes_and_they_are_perpendicular(affine: np.ndarray) -> None:
    assert geometry.spacing_zyx(affine) == geometry.spacing_xyz(affine)[::-1]
    assert geometry.orthonormal_error(affine) < 1e-9


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.int32]), (2, 2, 3)),
    st.integers(-5000, 5000).filter(bool),
    st.integers(-70_000, 70_000),
)
def test_whole_scales_are_exact(values: np.ndarray, slope: int, inter: int) -> None:
    exact = values.astype(object) * slope + inter
    found = compact(values, float(slope), float(inter))
    if found.dtype.kind == "f":  # beyond 32 bits
        assert max(map(abs, exact.ravel())) > 2**31 - 1
        assert np.allclose(found.astype(float), exact.astype(float), rtol=1e-6)
    else:
        assert found.dtype.itemsize <= 4
        assert np.array_equal(found.astype(object), exact)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.int16, np.uint8, np.int32]),
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6),
    )
)
def test_quantiles_by_counting_are_those_of_numpy(voxels_zyx: np.ndarray) -> None:
    box = tuple((0, n) for n in voxels_zyx.shape)
    found = intensities(voxels_zyx, None, box)  # type: ignore[arg-type]
    values = voxels_zyx.astype(np.float64)
    assert found.quantiles == pytest.approx(np.quantile(values, np.linspace(0, 1, 401)))
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std(), abs=1e-6 * max(1, np.abs(values).max()))


def test_quantiles_of_a_large_float_volume_are_drawn_and_near() -> None:
    voxels_zyx = np.random.default_rng(0).normal(50, 20, (60, 300, 300)).astype(np.float32)
    found = intensities(voxels_zyx, None, ((0, 60), (0, 300), (0, 300)))
    exact = np.quantile(voxels_zyx.ravel()[::7], np.linspace(0, 1, 401))
    assert np.abs(np.array(found.quantiles) - exact)[2:-2].max() < 0.5
    assert (found.min, found.max) == (found.quantiles[0], found.quantiles[-1])


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int16, (3, 4, 5), elements=st.sampled_from([0, 0, 0, 0, 0, 0, 0, 7])))
def test_the_nonzero_box_is_tight(voxels_zyx: np.ndarray) -> None:
    box = nonzero_box([voxels_zyx])
    inside = tuple(slice(*ends) for ends in box)
    if voxels_zyx.any():
        assert np.count_nonzero(voxels_zyx[inside]) == np.count_nonzero(voxels_zyx)
        for axis in range(3):
            ends = voxels_zyx[inside].take([0, -1], axis=axis)
            assert all(ends.take(i, axis=axis).any() for i in (0, 1))
    else:
        assert box == ((0, 3), (0, 4), (0, 5))
