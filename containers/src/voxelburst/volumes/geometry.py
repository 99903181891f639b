"""Affines: voxel index (x, y, z) to world millimetres in RAS, as nibabel and the case record give them.

Legend: ``shape_xyz`` and ``shape_zyx`` are voxels an axis; affines are 4x4 float64.
"""

from __future__ import annotations

import itertools

import numpy as np
from nibabel.quaternions import mat2quat
from numpy.typing import NDArray

Affine = NDArray[np.float64]

# A hundredth of a voxel is far below what any label was drawn with, far above float32's rounding of affines.
TOLERANCE_VOXELS = 0.01
# Tolerance of |R'R - 1|: direction cosines are written with as few as four digits.
TOLERANCE_ORTHONORMAL = 1e-3
# Of a NIfTI quaternion's b, c and d: a few times float32's rounding.
_TOLERANCE_QUATERNION = 5e-7


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


def with_rotation_of(sform: Affine, qform: Affine) -> Affine:
    """The qform with the sform's axes, where a header's quaternion cannot tell the two apart; else unchanged.

    A header keeps b, c and d in float32 and leaves a = sqrt(1 - b*b - c*c - d*d) to the reader: near a half
    turn (every LPS image) rounding alone turns the axes by up to a thousandth, half a voxel at 512.
    """
    (axes_s, b_s), (axes_q, b_q) = _rotation(sform), _rotation(qform)
    same = min(np.abs(b_s - sign * b_q).max() for sign in (1, -1)) <= _TOLERANCE_QUATERNION
    handed = np.linalg.det(axes_s) * np.linalg.det(axes_q) > 0
    if not (same and handed):
        return qform
    result = qform.copy()
    result[:3, :3] = axes_s * np.sqrt((qform[:3, :3] ** 2).sum(axis=0))
    return result


def _rotation(affine: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(unit axes, quaternion b c d) as NIfTI defines them: of a left-handed grid with its z axis turned."""
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    proper = axes * [1, 1, np.sign(np.linalg.det(axes))]
    return axes, mat2quat(proper)[1:]
