"""Grids of the same voxels whose axes are stored in another order or direction."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from .geometry import TOLERANCE_VOXELS, Affine, corner_shift_voxels
from .volume import Volume


def with_axes_of(affine: Affine, shape_xyz: tuple[int, int, int], other: Volume) -> Volume:
    """``other`` with its axes reordered and flipped as those of a grid, where it then lies on that grid.

    A DICOM series has no order of axes of its own: converters turn rows, and count slices from either end.
    Nothing is interpolated: a volume that is not on the grid is returned as it is.
    """
    to_grid = np.linalg.solve(affine, other.affine)
    axes = io_orientation(to_grid)
    if np.isnan(axes).any() or np.array_equal(axes, [[0, 1], [1, 1], [2, 1]]):
        return other
    turned_xyz = apply_orientation(other.voxels_zyx.transpose(), axes)
    turned_affine = other.affine @ inv_ornt_aff(axes, other.shape_xyz)
    if (
        turned_xyz.shape != shape_xyz
        or corner_shift_voxels(affine, turned_affine, shape_xyz) > TOLERANCE_VOXELS
    ):
        return other
    return Volume(voxels_zyx=np.ascontiguousarray(turned_xyz.transpose()), affine=turned_affine)
