"""Where windows lie on a volume and what each counts for (recipe.md, section 5).

Axes: c channel, k class, d h w space in the arrays' order. A volume smaller than the patch is padded with
zeros on both sides, the odd voxel behind; the padding exists in the window that is cut, never as a copy of
the volume.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from ..contract import Zyx

# nnU-Net's: a window counts for 1/2980 of its centre's weight at the middle of a face.
_SIGMA_SHARE_OF_PATCH = 1 / 8
_CPU = torch.device("cpu")


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis, evenly spread, the last one ending at the border.

    nnU-Net's count: ceil((size - patch) / (patch x (1 - overlap))) + 1. Negative where the axis is padded.
    """
    if size <= patch:
        return [-((patch - size) // 2)]
    steps = math.ceil((size - patch) / (patch * (1 - overlap)))
    return [round((size - patch) * i / steps) for i in range(steps + 1)]


def _axis_weights(size: int, patch: int, axis_starts: list[int]) -> torch.Tensor:
    """Gaussian weights (window, voxel of the patch), of sum 1 over the windows at each voxel.

    Windows lie on a product of axes and the Gaussian is a product too, so that weights normalised axis by
    axis are normalised as a whole: no map of counts is needed, nor the division by it.
    """
    at = torch.arange(patch, dtype=torch.float64)
    gaussian = torch.exp(-0.5 * ((at - (patch - 1) / 2) / (patch * _SIGMA_SHARE_OF_PATCH)) ** 2)
    total = torch.zeros(size + 2 * patch, dtype=torch.float64)
    for start in axis_starts:
        total[patch + start : 2 * patch + start] += gaussian
    weights = [gaussian / total[patch + start : 2 * patch + start] for start in axis_starts]
    return torch.stack(weights).float()


@dataclass(frozen=True)
class WindowGrid:
    """The windows of one volume shape, ordered by d, then h, then w."""

    shape_dhw: Zyx
    patch: Zyx
    corners: list[Zyx]
    _at: list[Zyx]
    _weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    def __len__(self) -> int:
        return len(self.corners)

    def cut(self, image_cdhw: torch.Tensor, index: int) -> torch.Tensor:
        """window_cdhw of patch size: a view, or a padded copy where it leaves the volume."""
        inside, padding = self._inside(index)
        window = image_cdhw[(slice(None), *inside)]
        return F.pad(window, padding) if any(padding) else window

    def add(self, logits_kdhw: torch.Tensor, index: int, window_kdhw: torch.Tensor) -> None:
        """Adds a window's logits, by their weights, to the volume's."""
        inside, padding = self._inside(index)
        within = tuple(
            slice(padding[2 * (2 - a)], n - padding[2 * (2 - a) + 1]) for a, n in enumerate(self.patch)
        )
        target = logits_kdhw[(slice(None), *inside)]
        window_kdhw = window_kdhw[(slice(None), *within)]
        if len(self) == 1:
            target.copy_(window_kdhw)
            return
        wd, wh, ww = (
            axis[at][part] for axis, at, part in zip(self._weights, self._at[index], within, strict=True)
        )
        target.addcmul_(window_kdhw, wd[:, None, None] * (wh[:, None] * ww))

    def _inside(self, index: int) -> tuple[tuple[slice, ...], tuple[int, ...]]:
        """The part of the volume under a window, and how far the window leaves it, as F.pad takes that."""
        inside, padding = [], []
        for start, patch, size in zip(self.corners[index], self.patch, self.shape_dhw, strict=True):
            inside.append(slice(max(0, start), min(size, start + patch)))
            padding.append((max(0, -start), max(0, start + patch - size)))
        d, h, w = padding
        return tuple(inside), (*w, *h, *d)


@lru_cache(maxsize=32)
def window_grid(shape_dhw: Zyx, patch: Zyx, overlap: float, where: torch.device = _CPU) -> WindowGrid:
    """The windows that cover a volume, their weights on the device of its logits."""
    axes = [starts(n, p, overlap) for n, p in zip(shape_dhw, patch, strict=True)]
    at = list(itertools.product(*(range(len(axis)) for axis in axes)))
    d, h, w = (_axis_weights(n, p, axis).to(where) for n, p, axis in zip(shape_dhw, patch, axes, strict=True))
    return WindowGrid(
        shape_dhw=shape_dhw,
        patch=patch,
        corners=[(axes[0][i], axes[1][j], axes[2][k]) for i, j, k in at],
        _at=[(i, j, k) for i, j, k in at],
        _weights=(d, h, w),
    )
