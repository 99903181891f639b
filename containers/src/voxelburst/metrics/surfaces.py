"""Surfaces of binary masks and the distances between them, in millimetres.

Two surfaces, because the two measures are defined on different ones: HD95 on the voxels at a mask's edge
(MONAI), NSD on surface elements, one for each 2x2x2 neighbourhood that is partly inside (DeepMind's
surface-distance, https://github.com/google-deepmind/surface-distance). A mask of noise in 512x512x400 voxels,
which an untrained network gives, has fifty million surface points: they are kept as flat indices into their
grid and become coordinates a chunk at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

Mask = npt.NDArray[np.bool_]
Flat = npt.NDArray[np.unsignedinteger]
Mm = tuple[float, float, float]
_POINTS_AT_ONCE = 1_000_000
# Distances are sums of rounded squares: a point exactly at the tolerance must count as within it.
_ROUNDING = 1 + 1e-9
# A query of the tree costs about 16 times what a voxel of the distance transform costs (0.1 us).
_VOXELS_A_QUERY = 16
_FIRST_MARGIN_MM = 16.0


@dataclass(frozen=True)
class Surface:
    """Points of a surface: ascending flat indices into a grid of ``shape``.

    ``codes`` are the points' 2x2x2 neighbourhoods where the surface is one of elements, otherwise None.
    """

    flat: Flat
    shape: tuple[int, ...]
    codes: npt.NDArray[np.uint8] | None = None


def _halves(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of all but the last, and of all but the first, along one of three axes."""
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high


def _flat(mask_zyx: Mask) -> Flat:
    found = np.flatnonzero(mask_zyx)
    return found.astype(np.uint32) if mask_zyx.size < 2**32 else found.astype(np.uint64)


def edge_voxels(mask_zyx: Mask) -> Surface:
    """Voxels of the mask with a face towards its outside; the border of the grid counts as outside."""
    inner = mask_zyx.copy()
    for axis in range(3):
        low, high = _halves(axis)
        inner[low] &= mask_zyx[high]
        inner[high] &= mask_zyx[low]
        np.moveaxis(inner, axis, 0)[[0, -1]] = False
    return Surface(_flat(mask_zyx & ~inner), mask_zyx.shape)


def surface_elements(mask_zyx: Mask) -> Surface:
    """The 2x2x2 neighbourhoods that hold a piece of the surface.

    The grid has one point more an axis than the mask: neighbourhoods reach over its border, which is outside.
    """
    code = np.pad(mask_zyx.view(np.uint8), 1)
    # MONAI's and DeepMind's kernel [[[128, 64], [32, 16]], [[8, 4], [2, 1]]], one axis at a time.
    for axis, factor in ((2, 2), (1, 4), (0, 16)):
        low, high = _halves(axis)
        code = code[low] * np.uint8(factor) + code[high]
    flat = _flat((code != 0) & (code != 255))
    return Surface(flat, code.shape, code.ravel()[flat])


@lru_cache(maxsize=64)
def _area_of_code_mm2(spacing_mm_zyx: Mm) -> npt.NDArray[np.float64]:
    """Area of the surface in a 2x2x2 neighbourhood by its code, by marching cubes: DeepMind's table."""
    from monai.metrics.utils import create_table_neighbour_code_to_surface_area

    table, _ = create_table_neighbour_code_to_surface_area(spacing_mm_zyx)
    return table.double().numpy()


def _zyx(flat: Flat, shape: tuple[int, ...]) -> list[Flat]:
    z, in_plane = np.divmod(flat, flat.dtype.type(shape[1] * shape[2]))
    return [z, *np.divmod(in_plane, flat.dtype.type(shape[2]))]


def _box_around(
    flat: Flat, shape: tuple[int, ...], spacing_mm_zyx: Mm, margin_mm: float
) -> list[tuple[int, int]]:
    """First and last index along each axis of the points' box with a margin; it may leave the grid."""
    lowest, highest = [1 << 62] * 3, [-1] * 3
    for start in range(0, len(flat), _POINTS_AT_ONCE):
        for axis, at in enumerate(_zyx(flat[start : start + _POINTS_AT_ONCE], shape)):
            lowest[axis] = min(lowest[axis], int(at.min()))
            highest[axis] = max(highest[axis], int(at.max()))
    margins = [math.ceil(margin_mm / mm) for mm in spacing_mm_zyx]
    return [(low - m, high + m) for low, high, m in zip(lowest, highest, margins, strict=True)]


def _coordinates_mm(flat: Flat, shape: tuple[int, ...], spacing_mm_zyx: Mm) -> npt.NDArray[np.float64]:
    found = np.empty((len(flat), 3))
    for start in range(0, len(flat), _POINTS_AT_ONCE):
        chunk = _zyx(flat[start : start + _POINTS_AT_ONCE], shape)
        for axis in range(3):
            found[start : start + _POINTS_AT_ONCE, axis] = chunk[axis] * spacing_mm_zyx[axis]
    return found


def distances_mm(
    points: Surface, to: Surface, spacing_mm_zyx: Mm, workers: int, within_mm: float = np.inf
) -> npt.NDArray[np.float32]:
    """Euclidean distance from each of ``points`` to the nearest point of ``to``.

    Args:
        to: on the same grid, not empty.
        workers: threads.
        within_mm: distances above it may come back as infinity, which is faster than finding them.
    """
    found = np.zeros(len(points.flat), np.float32)
    apart = ~_contained(points.flat, to.flat)
    rest = points.flat[apart]
    if len(rest) == 0:
        return found
    if np.isinf(within_mm) and len(rest) * _VOXELS_A_QUERY > np.prod(points.shape):
        found[apart] = _by_transform(rest, to, spacing_mm_zyx)
    else:
        found[apart] = _by_tree(rest, to, spacing_mm_zyx, workers, within_mm)
    return found


def _contained(flat: Flat, of: Flat) -> Mask:
    """Which of ascending indices are among other ascending indices."""
    found = np.empty(len(flat), bool)
    for start in range(0, len(flat), _POINTS_AT_ONCE):
        chunk = flat[start : start + _POINTS_AT_ONCE]
        at = np.searchsorted(of, chunk)
        at[at == len(of)] = 0
        found[start : start + _POINTS_AT_ONCE] = of[at] == chunk
    return found


def _by_transform(flat: Flat, to: Surface, spacing_mm_zyx: Mm) -> npt.NDArray[np.float32]:
    """By each voxel's nearest point: the transform's own distances would take four times the memory."""
    outside = np.ones(to.shape, bool)
    outside.ravel()[to.flat] = False
    nearest = distance_transform_edt(
        outside, sampling=spacing_mm_zyx, return_distances=False, return_indices=True
    )
    found = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), _POINTS_AT_ONCE):
        chunk = flat[start : start + _POINTS_AT_ONCE]
        squares = np.zeros(len(chunk))
        for axis, at in enumerate(_zyx(chunk, to.shape)):
            squares += ((nearest[axis].ravel()[chunk] - at.astype(np.int64)) * spacing_mm_zyx[axis]) ** 2
        found[start : start + _POINTS_AT_ONCE] = np.sqrt(squares)
    return found


def _by_tree(
    flat: Flat, to: Surface, spacing_mm_zyx: Mm, workers: int, within_mm: float
) -> npt.NDArray[np.float32]:
    """From a tree of the target's points that are near.

    A target outside the points' box with a margin around it is farther from each of them than the margin, so
    what is found within the margin is the nearest; the margin grows for the others. That keeps the tree small
    where the target is a surface all over the image.
    """
    found = np.full(len(flat), np.inf, np.float32)
    margin_mm = within_mm * _ROUNDING if np.isfinite(within_mm) else _FIRST_MARGIN_MM
    while True:
        left = np.flatnonzero(np.isinf(found)).astype(flat.dtype)
        if len(left) == 0:
            return found
        box = _box_around(flat[left], to.shape, spacing_mm_zyx, margin_mm)
        everything = all(low <= 0 and high >= n - 1 for (low, high), n in zip(box, to.shape, strict=True))
        near = to.flat if everything else to.flat[_inside(to, box)]
        if len(near):
            # The points lie on a grid: splitting at the middle of a box costs half of splitting at medians.
            tree = cKDTree(
                _coordinates_mm(near, to.shape, spacing_mm_zyx),
                leafsize=32,
                balanced_tree=False,
                compact_nodes=False,
            )
            bound = np.inf if everything and np.isinf(within_mm) else margin_mm
            for start in range(0, len(left), _POINTS_AT_ONCE):
                chunk = left[start : start + _POINTS_AT_ONCE]
                from_mm = _coordinates_mm(flat[chunk], to.shape, spacing_mm_zyx)
                found[chunk] = tree.query(from_mm, distance_upper_bound=bound, workers=workers)[0]
        if everything or np.isfinite(within_mm):
            return found
        margin_mm *= 4


def _inside(surface: Surface, box: list[tuple[int, int]]) -> Mask:
    # The indices ascend, so the box's planes are one run of them: only that run is looked at more closely.
    plane = surface.shape[1] * surface.shape[2]
    first, last = np.searchsorted(surface.flat, [max(0, box[0][0]) * plane, (box[0][1] + 1) * plane])
    inside = np.zeros(len(surface.flat), bool)
    for start in range(first, last, _POINTS_AT_ONCE):
        stop = min(start + _POINTS_AT_ONCE, last)
        _, y, x = _zyx(surface.flat[start:stop], surface.shape)
        inside[start:stop] = (y >= box[1][0]) & (y <= box[1][1]) & (x >= box[2][0]) & (x <= box[2][1])
    return inside


def percentile_95_mm(one: Surface, other: Surface, spacing_mm_zyx: Mm, workers: int) -> float:
    """Per direction the 95th percentile of the distances, then the larger (MONAI's hausdorff_distance.py)."""
    return max(
        float(np.percentile(distances_mm(a, b, spacing_mm_zyx, workers), 95, overwrite_input=True))
        for a, b in ((one, other), (other, one))
    )


def area_within(one: Surface, other: Surface, spacing_mm_zyx: Mm, tolerance_mm: float, workers: int) -> float:
    """The share of both surfaces' area that is at most the tolerance from the other surface."""
    area_mm2 = _area_of_code_mm2(spacing_mm_zyx)
    near = total = 0.0
    for a, b in ((one, other), (other, one)):
        assert a.codes is not None
        close = np.isfinite(distances_mm(a, b, spacing_mm_zyx, workers, within_mm=tolerance_mm))
        near += float(np.bincount(a.codes[close], minlength=256) @ area_mm2)
        total += float(np.bincount(a.codes, minlength=256) @ area_mm2)
    return min(1.0, near / total)
