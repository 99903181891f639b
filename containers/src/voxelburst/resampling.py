"""Resampling of images, labels and logits to another grid (recipe.md, section 2), where the data is.

Axes: d h w, the arrays' own. Grids share their outer edges: output voxel i is centred at
(i + 0.5) x old size / new size - 0.5, edges held, as in skimage's resize, which nnU-Net uses.
A coarse axis is resampled by nearest neighbour, apart from the plane of the other two.

Resampling is linear and separable, so that each axis is one product with a matrix. The cubic's holds its
prefilter too: what nnU-Net gets from scipy's zoom is here exactly that, on a GPU as on the CPU.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from .contract import Zyx

IMAGE_KERNEL = (
    "cubic B-spline with prefilter (scipy's zoom of order 3), no anti-aliasing, held within the image's "
    "range; nearest along a coarse axis"
)
LABEL_KERNEL = "linear on each class, assigned where >= 0.5; nearest along a coarse axis"
# scipy extends an axis by as many voxels before it filters; the filter forgets by 0.27 a voxel, 1e-7 in all.
_EXTENSION = 12
# Rows of a matrix that are multiplied at once: the columns that matter to them are few more than the rows.
_ROWS_AT_ONCE = 64
_NEGLIGIBLE = 1e-10


def image(volume_dhw: torch.Tensor, shape: Zyx, coarse_axis: int | None) -> torch.Tensor:
    """A float32 image resampled to ``shape`` with `IMAGE_KERNEL`.

    The range is the image's, or with a coarse axis each slice's own: what nnU-Net hands to skimage at a time.
    """
    if tuple(volume_dhw.shape) == tuple(shape):
        return volume_dhw
    plane = [axis for axis in range(3) if axis != coarse_axis]
    if any(volume_dhw.shape[axis] != shape[axis] for axis in plane):
        low, high = volume_dhw.amin(plane, keepdim=True), volume_dhw.amax(plane, keepdim=True)
        for axis in sorted(
            plane, key=lambda axis: shape[axis] / volume_dhw.shape[axis]
        ):  # shrinking ones first
            volume_dhw = _along(volume_dhw, axis, shape[axis], order=3)
        volume_dhw = torch.minimum(torch.maximum(volume_dhw, low), high)
    return volume_dhw if coarse_axis is None else _nearest(volume_dhw, coarse_axis, shape[coarse_axis])


def label(label_dhw: torch.Tensor, shape: Zyx, coarse_axis: int | None) -> torch.Tensor:
    """An int8 label resampled to ``shape`` with `LABEL_KERNEL`; what no class claims is background 0."""
    if tuple(label_dhw.shape) == tuple(shape):
        return label_dhw
    resampled = torch.zeros(shape, dtype=torch.int8, device=label_dhw.device)
    values = label_dhw.unique().tolist()
    for value in values:
        # Everything starts as background, which only has something to win back from a -1 before it.
        if value == 0 and values[0] == 0:
            continue
        share = (label_dhw == value).float()
        for axis in range(3):
            if axis != coarse_axis:
                share = _along(share, axis, shape[axis], order=1)
        if coarse_axis is not None:
            share = _nearest(share, coarse_axis, shape[coarse_axis])
        resampled[share >= 0.5] = value
    return resampled


def logits_planes(
    logits_kdhw: torch.Tensor, shape: Zyx, coarse_axis: int | None, start: int, stop: int
) -> torch.Tensor:
    """Planes [start, stop) along d of the logits resampled linearly to ``shape``; float32, where they are."""
    if tuple(logits_kdhw.shape[1:]) == tuple(shape):
        return logits_kdhw[:, start:stop].float()
    depth = logits_kdhw.shape[1]
    position = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * depth / shape[0] - 0.5
    if coarse_axis == 0:
        nearest = (position + 0.5).floor().clamp(0, depth - 1).long().to(logits_kdhw.device)
        planes = logits_kdhw[:, nearest].float()
    else:
        position = position.clamp(0, depth - 1)
        below = position.floor().long()
        above = (below + 1).clamp(max=depth - 1)
        share = (position - below).to(logits_kdhw.device, torch.float32)[None, :, None, None]
        below, above = below.to(logits_kdhw.device), above.to(logits_kdhw.device)
        planes = torch.lerp(logits_kdhw[:, below].float(), logits_kdhw[:, above].float(), share)
    if coarse_axis == 1:
        planes = F.interpolate(planes, size=[shape[1], planes.shape[3]], mode="nearest-exact")
    elif coarse_axis == 2:
        planes = F.interpolate(planes, size=[planes.shape[2], shape[2]], mode="nearest-exact")
    return F.interpolate(planes, size=list(shape[1:]), mode="bilinear", align_corners=False)


def _along(volume_dhw: torch.Tensor, axis: int, size: int, *, order: int) -> torch.Tensor:
    """One axis resampled to ``size`` by a spline of an order, a block of the matrix's rows at a time."""
    if volume_dhw.shape[axis] == size:
        return volume_dhw
    shape = list(volume_dhw.shape)
    shape[axis] = size
    resampled = volume_dhw.new_empty(shape)
    for start, stop, first, last, rows in _blocks(volume_dhw.shape[axis], size, order, volume_dhw.device):
        given = volume_dhw.narrow(axis, first, last - first)
        target = resampled.narrow(axis, start, stop - start)
        if axis == 0:
            target.copy_(torch.tensordot(rows, given, dims=([1], [0])))
        elif axis == 1:
            target.copy_(torch.matmul(rows, given))
        else:
            target.copy_(torch.matmul(given, rows.T))
    return resampled


Block = tuple[int, int, int, int, torch.Tensor]


@lru_cache(maxsize=64)
def _blocks(old: int, new: int, order: int, where: torch.device) -> list[Block]:
    """(first row, behind the last, first column, behind the last, the matrix between them, float32)."""
    matrix = spline_matrix(old, new, order)
    found = []
    for start in range(0, new, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, new)
        used = np.flatnonzero((np.abs(matrix[start:stop]) > _NEGLIGIBLE).any(0))
        first, last = int(used[0]), int(used[-1]) + 1
        rows = torch.from_numpy(matrix[start:stop, first:last].astype(np.float32)).to(where)
        found.append((start, stop, first, last, rows))
    if where.type == "cuda":  # other streams will read what this one is still being sent
        torch.cuda.current_stream(where).synchronize()
    return found


def spline_matrix(old: int, new: int, order: int) -> np.ndarray:
    """(new, old), float64: scipy.ndimage.zoom(..., order, mode="nearest", grid_mode=True) along one axis.

    Args:
        order: 1 or 3.
    """
    position = (np.arange(new) + 0.5) * old / new - 0.5
    if order == 1:
        samples, extension = np.eye(old), 0
    else:
        import scipy.ndimage  # slow to import, and data at the plan's spacing needs none of it

        # The prefilter of the extended axis, for each sample alone.
        extension = _EXTENSION
        samples = np.pad(np.eye(old), ((extension, extension), (0, 0)), mode="edge")
        samples = scipy.ndimage.spline_filter1d(samples, 3, axis=0, mode="nearest")
    at = np.clip(position + extension, 0, len(samples) - 1)
    below = np.floor(at).astype(int)
    t = at - below
    if order == 1:
        taps = [(0, 1 - t), (1, t)]
    else:  # the cubic B-spline's four pieces
        taps = [
            (-1, (1 - t) ** 3 / 6),
            (0, (4 - 6 * t**2 + 3 * t**3) / 6),
            (1, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6),
            (2, t**3 / 6),
        ]
    matrix = np.zeros((new, old))
    for tap, weight in taps:
        matrix += weight[:, None] * samples[np.clip(below + tap, 0, len(samples) - 1)]
    return matrix


def _nearest(volume_dhw: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    if volume_dhw.shape[axis] == size:
        return volume_dhw
    old = volume_dhw.shape[axis]
    position = (torch.arange(size, dtype=torch.float64) + 0.5) * old / size - 0.5
    index = (position + 0.5).floor().clamp(0, old - 1).long().to(volume_dhw.device)
    return volume_dhw.index_select(axis, index)
