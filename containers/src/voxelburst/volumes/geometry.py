"""Affines: voxel index (x, y, z) to world millimetres in RAS, as nibabel and the case record give them.

Legend: ``shape_xyz`` and ``shape_zyx`` are voxels an axis; affines are 4x4 float64.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]

# A hundredth of a voxel is far below what any label was drawn with, far above float32's rounding of affines.
TOLERANCE_VOXELS = 0.01
# Tolerance of |R'R - 1|: direction cosines are written with as few as four digits.
TOLERANCE_ORTHONORMAL = 1e-3


def spacing_xyz(affine: Affine) -> tuple[float, float, float]:
    """Millimetres between voxel centres along x, y and z: the lengths of the affine's columns."""
    x, y, z = (float(v) for v in np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
    return x, y, z


def spacing_zyx(affine: Affine) -> tuple[float, float, float]:
    """Millimetres between voxel centres along z, y and x."""
    x, y, z = spacing_xyz(affine)
    return z, y, x


def corners_xyz(shape_xyz: tuple[int, int, int]) -> NDArray[np.float64]:
    """Indices of the eight corner voxels, (8, 3)."""
    return np.array(list(itertools.product(*((0, n - 1) for n in shape_xyz))), dtype=np.float64)


def corner_shift_voxels(a: Affine, b: Affine, shape_xyz: tuple[int, int, int]) -> float:
    """How far apart two affines put the same corner, at most, along any axis, in voxels of ``a``."""
    corners = corners_xyz(shape_xyz)
    shift_mm = corners @ (b[:3, :3] - a[:3, :3]).T + (b[:3, 3] - a[:3, 3])
    return float(np.abs(np.linalg.solve(a[:3, :3], shift_mm.T)).max())


def orthonormal_error(affine: Affine) -> float:
    """The largest element of |R'R - 1|, R being the axes at unit length; 0 for perpendicular axes."""
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return float(np.abs(axes.T @ axes - np.eye(3)).max())
