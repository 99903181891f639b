"""Labels of DICOM images whose axes a converter stored in another order or direction."""

from __future__ import annotations

import itertools

import ct_series
import nibabel as nib
import numpy as np
import pytest
from ingest_drop import Drop, image_zyx, label_zyx, save
from nibabel.orientations import apply_orientation, inv_ornt_aff

SHAPE = (6, *ct_series.SHAPE)
TURNS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def turned(
    axes: tuple[int, ...], flips: tuple[int, ...], affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same label, stored otherwise: (voxels_zyx, affine)."""
    orientation = np.array(list(zip(axes, flips, strict=True)))
    voxels_xyz = label_zyx(SHAPE).T
    return apply_orientation(voxels_xyz, orientation).T, affine @ inv_ornt_aff(orientation, voxels_xyz.shape)


@pytest.mark.parametrize(("axes", "flips"), TURNS[::5])
def test_a_dicom_images_label_is_put_into_the_images_order_of_axes(
    drop: Drop, axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    ct_series.write(drop.data / "imagesTr/scan", ct_series.slices())
    save(drop.label(), *turned(axes, flips, ct_series.affine()))
    drop.line("case-1", "imagesTr/scan/")
    assert drop.code() is None
    record = drop.record()
    assert record.label is not None
    stored = nib.load(drop.root / "artefacts" / record.label)
    assert np.array_equal(np.asarray(stored.dataobj).T, label_zyx(SHAPE))
    assert np.allclose(stored.affine, ct_series.affine(), atol=1e-4)


def test_a_label_that_lies_half_a_voxel_off_in_another_order_is_refused(drop: Drop) -> None:
    ct_series.write(drop.data / "imagesTr/scan", ct_series.slices())
    voxels_zyx, affine = turned((0, 1, 2), (1, -1, 1), ct_series.affine())
    affine[0, 3] += 0.35
    save(drop.label(), voxels_zyx, affine)
    drop.line("case-1", "imagesTr/scan/")
    assert drop.code() == "LabelGeometryDiffers"


def test_a_nifti_images_label_in_another_order_is_refused_as_the_pair_was_made_together(drop: Drop) -> None:
    case = drop.add()
    stored = nib.load(drop.label())
    flipped = np.asarray(stored.dataobj)[::-1]
    affine = stored.affine @ inv_ornt_aff(np.array([[0, -1], [1, 1], [2, 1]]), stored.shape)
    nib.save(nib.Nifti1Image(flipped, affine), drop.label())
    assert image_zyx().shape == stored.shape[::-1]
    assert case["caseId"] == "case-1"
    assert drop.code() == "LabelGeometryDiffers"
