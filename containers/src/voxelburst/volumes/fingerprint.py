"""What planning needs to know of a case's intensities (nnU-Net's fingerprint: fingerprint_extractor.py).

nnU-Net draws voxels of the foreground (label > 0) with replacement, seed 1234 a case, and pools them. Here
the statistics are of all foreground voxels of the case; only the quantiles of large float volumes are drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contract import Intensities

QUANTILES = 401
_SEED = 1234
# Sampling error of a quantile's rank with 4 million draws: below 0.025 %.
_MOST_SORTED = 1 << 22

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def nonzero_box(channels_zyx: list[NDArray]) -> Box:
    """The half-open box around every voxel that is not 0 in some channel; the whole volume if all are 0."""
    shape = channels_zyx[0].shape
    seen = [np.zeros(n, bool) for n in shape]
    for voxels_zyx in channels_zyx:
        for z, slice_yx in enumerate(voxels_zyx):
            mask_yx = slice_yx != 0
            rows = mask_yx.any(axis=1)
            seen[0][z] |= bool(rows.any())
            seen[1] |= rows
            seen[2] |= mask_yx.any(axis=0)
    return _extent(seen[0]), _extent(seen[1]), _extent(seen[2])


def _extent(flags: NDArray[np.bool_]) -> tuple[int, int]:
    where = np.flatnonzero(flags)
    return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, len(flags))


def intensities(voxels_zyx: NDArray, label_zyx: NDArray[np.uint8] | None, box: Box) -> Intensities:
    """Statistics of one channel over label > 0, or over the nonzero box where there is no such voxel.

    Quantiles at 0, 0.0025, ..., 1 interpolate linearly, as numpy's default does.
    """
    inside = tuple(slice(start, stop) for start, stop in box)
    values = voxels_zyx[inside].reshape(-1)
    if label_zyx is not None:
        # Foreground may lie outside the nonzero box, where intensities are 0: nnU-Net drops it there too.
        foreground = voxels_zyx[inside][label_zyx[inside] > 0]
        values = foreground if len(foreground) else values
    chunks = range(0, len(values), _MOST_SORTED)
    total = sum(float(values[i : i + _MOST_SORTED].sum(dtype=np.float64)) for i in chunks)
    mean = total / len(values)
    squares = sum(
        float(np.square(values[i : i + _MOST_SORTED].astype(np.float64) - mean).sum()) for i in chunks
    )
    return Intensities(
        count=len(values),
        mean=mean,
        std=float(np.sqrt(squares / len(values))),
        min=float(values.min()),
        max=float(values.max()),
        quantiles=_quantiles(values),
    )


def _quantiles(values: NDArray) -> list[float]:
    probabilities = np.linspace(0, 1, QUANTILES)
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if high - low < 1 << 17:  # CT and most MR: counting is exact and faster than sorting
            counts = np.zeros(high - low + 1, np.int64)
            for i in range(0, len(values), _MOST_SORTED):
                part = values[i : i + _MOST_SORTED].astype(np.int64) - low
                counts += np.bincount(part, minlength=len(counts))
            ends = np.cumsum(counts)
            rank = probabilities * (len(values) - 1)
            below = np.floor(rank)
            left = np.searchsorted(ends, below, side="right") + low
            right = np.searchsorted(ends, np.ceil(rank), side="right") + low
            return [float(v) for v in left + (rank - below) * (right - left)]
    if len(values) > _MOST_SORTED:
        draw = np.random.default_rng(_SEED).integers(0, len(values), _MOST_SORTED)
        ends_exact = float(values.min()), float(values.max())
        found = np.quantile(values[draw], probabilities)
        found[0], found[-1] = ends_exact
        return [float(v) for v in found]
    return [float(v) for v in np.quantile(values.astype(np.float64), probabilities)]
