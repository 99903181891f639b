"""Real series of several makers: each becomes the NIfTI that it must become, or is refused with its code."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelburst.dicom import read_series
from voxelburst.storage import Store
from voxelburst.volumes import Refusal, geometry

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "data" / "dicom"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data/dicom is not here")

CONVERTED = {
    "ge/anatomical/001": "Explicit VR Little Endian",
    "ge/anatomical/001_implicit": "Implicit VR Little Endian",
    "generic/anatomical/001": "Explicit VR Little Endian",
    "generic/anatomical/001_implicit": "Implicit VR Little Endian",
    "generic/anatomical/002_non_isotropic": "Explicit VR Little Endian",
    "generic/compressed/001": "JPEG 2000 Image Compression (Lossless Only)",
    "generic/compressed_j2k/001": "JPEG 2000 Image Compression (Lossless Only)",
    "generic/compressed_jpeg/001": "JPEG Lossless, Non-Hierarchical, First-Order Prediction "
    "(Process 14 [Selection Value 1])",
    "generic/compressed_jpegls/001": "JPEG-LS Lossless Image Compression",
    "generic/compressed_rle/001": "RLE Lossless",
    "siemens_multiframe/anatomical/001": "Explicit VR Little Endian",
}
REFUSED = {
    "failing/gantrytilting/001": "GantryTilt",
    "failing/notavolume/001": "SlicesAtOnePlace",
    "failing/slicecount/001": "TooFewSlices",
    "failing/sliceincrement/001": "SlicesMissing",
    # Tilted by 15.5 degrees besides its gap: both are said.
    "failing/sliceincrement/002": "GantryTilt",
    "failing/sliceorientation/001": "SliceOrientationsDiffer",
    "dcm_qa_ct_ge_tilt": "GantryTilt",
    "ge/anatomical/001_single_slice": "TooFewSlices",
    "generic/rgb/001": "NoVolumeInFolder",
}


@pytest.fixture(scope="module")
def samples() -> Store:
    return Store(f"file://{SAMPLES}/")


@pytest.mark.parametrize("series", CONVERTED)
def test_becomes_its_ground_truth(samples: Store, series: str) -> None:
    found = read_series(samples, f"{series}/", 4)
    truth = nib.load(SAMPLES / f"{series}_ground_truth.nii.gz")
    assert_same_world(found.volume.voxels_zyx.T, found.volume.affine, np.asarray(truth.dataobj), truth.affine)
    assert found.source.transfer_syntax == CONVERTED[series]
    assert found.source.slices == found.volume.shape_zyx[0]
    assert found.warnings == []


def test_two_slices_become_their_ground_truth_where_the_recipe_allows_them(samples: Store) -> None:
    found = read_series(samples, "failing/slicecount/001/", 2)
    truth = nib.load(SAMPLES / "failing/slicecount/001_ground_truth.nii.gz")
    assert_same_world(found.volume.voxels_zyx.T, found.volume.affine, np.asarray(truth.dataobj), truth.affine)


@pytest.mark.parametrize("series", REFUSED)
def test_is_refused(samples: Store, series: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_series(samples, f"{series}/", 4)
    assert caught.value.code == REFUSED[series]


def test_an_uneven_tilted_series_says_both(samples: Store) -> None:
    with pytest.raises(Refusal) as caught:
        read_series(samples, "dcm_qa_ct_ge_tilt/", 4)
    assert caught.value.got == "18.50 degrees; distances from 1.081 to 6.999 mm"


def test_colour_slices_are_named(samples: Store) -> None:
    with pytest.raises(Refusal) as caught:
        read_series(samples, "generic/rgb/001/", 4)
    assert caught.value.got == "4 colour image (RGB)"


def assert_same_world(
    ours: np.ndarray, our_affine: np.ndarray, truth: np.ndarray, true_affine: np.ndarray
) -> None:
    """Equal values at equal places; axes may be stored in another order or direction."""
    to_ours = np.linalg.inv(our_affine) @ true_affine
    rounded = np.rint(to_ours)
    corners = np.c_[geometry.corners_xyz(truth.shape), np.ones(8)].T
    assert np.abs((to_ours - rounded) @ corners).max() < 0.001
    index = np.indices(truth.shape).reshape(3, -1)
    at = (rounded[:3, :3] @ index + rounded[:3, 3:]).astype(int)
    assert ours.size == truth.size
    assert np.allclose(ours[tuple(at)].reshape(truth.shape), truth, rtol=1e-6, atol=1e-5)
