"""What eight bits are calibrated on: windows of training cases, never of those that a model is judged on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..contract import Zyx
from ..inference.windows import WindowGrid, window_grid
from .parity import ParityCase

_OVERLAP = 0.5
_WINDOWS_A_CASE = 4


def windows(cases: Iterable[ParityCase], patch: Zyx) -> Iterator[torch.Tensor]:
    """windows_cdhw of each case: the nearest to the middle of its foreground, and others evenly over it."""
    for case in cases:
        d, h, w = case.label_dhw.shape
        grid = window_grid((d, h, w), patch, _OVERLAP)
        spread = np.linspace(0, len(grid) - 1, min(len(grid), _WINDOWS_A_CASE)).round().astype(int)
        image_cdhw = torch.from_numpy(np.array(case.image_cdhw))
        for index in dict.fromkeys([_nearest(grid, case, patch), *spread.tolist()]):
            yield grid.cut(image_cdhw, index).clone()


def _nearest(grid: WindowGrid, case: ParityCase, patch: Zyx) -> int:
    places = np.argwhere(case.label_dhw > 0)
    middle = places.mean(0) if len(places) else np.array(case.label_dhw.shape) / 2
    centres = np.array(grid.corners) + np.array(patch) / 2
    return int(((centres - middle) ** 2).sum(1).argmin())
