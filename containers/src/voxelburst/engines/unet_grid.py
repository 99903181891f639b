"""Volumes as `unet_kernels` lays them out: channels last, on a grid with a border of one place of zeros."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..contract import Zyx


@dataclass(frozen=True)
class Grid:
    """A volume's places, a border of one around them included."""

    shape_dhw: Zyx

    @property
    def row(self) -> int:
        return self.shape_dhw[2] + 2

    @property
    def plane(self) -> int:
        return (self.shape_dhw[1] + 2) * self.row

    @property
    def places(self) -> int:
        return (self.shape_dhw[0] + 2) * self.plane

    @property
    def first(self) -> int:
        """The first place inside, and behind it `last`."""
        return self.plane + self.row + 1

    @property
    def last(self) -> int:
        d, h, w = self.shape_dhw
        return d * self.plane + h * self.row + w

    @property
    def lines(self) -> int:
        return self.shape_dhw[0] * self.shape_dhw[1]

    @property
    def pairs(self) -> int:
        """Places of the first lines of all pairs of lines, from the first line inside to the last."""
        d, h, _ = self.shape_dhw
        lines = (d - 1) * (h + 2) + h
        return -(-lines // 2) * self.row

    @property
    def voxels(self) -> int:
        d, h, w = self.shape_dhw
        return d * h * w

    def tiles(self, places: int) -> int:
        return -(-(self.last - self.first + 1) // places)


@dataclass(frozen=True)
class Volume:
    """Channels of a buffer: (n x places + guard, pitch) from ``at`` on."""

    name: str
    grid: Grid
    channels: int
    tensor: torch.Tensor
    at: int = 0

    @property
    def pitch(self) -> int:
        return self.tensor.shape[1]

    @property
    def data(self) -> torch.Tensor:
        return self.tensor[:, self.at :]

    def inside(self, samples: int) -> torch.Tensor:
        """A view (n, d, h, w, c)."""
        d, h, w = self.grid.shape_dhw
        whole = self.tensor[: samples * self.grid.places, self.at : self.at + self.channels]
        whole = whole.reshape(samples, d + 2, h + 2, w + 2, self.channels)
        return whole[:, 1:-1, 1:-1, 1:-1]
