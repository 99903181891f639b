"""Launches of the norm and activation in TensorRT's memory: its pointers, its layouts, no memory of our own.

Axes: n sample, s place in space (d, h, w flattened), c channel. A layout is the number of channels beside
each other, V: the array is (n, C / V, s, V). That is (n x C / V) samples of V channels, channels-last, so
that training's kernels sum them as they are (kernels/norm_activation_kernels.py), and mean and rstd are
(n, C) in any layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..kernels import norm_activation_kernels as sums
from ..kernels.norm_activation_triton import (
    DEFAULT,
    JOIN_CHANNELS,
    Tiling,
    cut_of,
    join_parts,
    tile_channels_of,
)
from . import tensorrt_norm_kernels as device

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Pointer:
    """Memory of TensorRT, as Triton takes a tensor."""

    address: int
    dtype: torch.dtype

    def data_ptr(self) -> int:
        return self.address


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Instance norm and LeakyReLU of one shape.

    Attributes:
        samples, places, channels: of the volume; places are d x h x w.
        channels_beside, channels_beside_out: V of x and of y; each the number of channels or a divisor of it.
        eps: added to the variance.
        slope: of the activation below zero.
        inverse: what y is multiplied by: of 8 bits the inverse of a step, otherwise 1.
    """

    samples: int
    places: int
    channels: int
    channels_beside: int
    channels_beside_out: int
    eps: float
    slope: float
    inverse: float = 1.0
    tiling: Tiling = DEFAULT

    @property
    def scratch_floats(self) -> tuple[int, int]:
        """float32 values of each of the two arrays of parts, and of each of the arrays mean and rstd."""
        cut = cut_of(self.places, self.channels_beside, self.tiling)
        of_statistics = self.samples * self.channels
        return cut.parts * of_statistics, of_statistics

    @property
    def scratch_bytes(self) -> int:
        return 2 * FLOAT_BYTES * sum(self.scratch_floats)

    def scratch(self, address: int) -> list[Pointer]:
        """The two arrays of parts, mean and rstd, one behind the other in `scratch_bytes` from address on."""
        of_parts, of_statistics = self.scratch_floats
        pointers = []
        for floats in (of_parts, of_parts, of_statistics, of_statistics):
            pointers.append(Pointer(address, torch.float32))
            address += FLOAT_BYTES * floats
        return pointers

    def launches(self, x: Any, y: Any, weight: Any, bias: Any, scratch: list[Any]) -> Iterator[Launch]:
        """What computes y of x, in this order.

        Args:
            x: of float16, in its layout. y of float16 or int8, in its own.
            weight, bias: float32, (c,).
            scratch: the four arrays of `scratch`, as pointers or tensors.
        """
        beside = self.channels_beside
        cut = cut_of(self.places, beside, self.tiling)
        parts_means, parts_squares, mean, rstd = scratch
        samples = self.samples * (self.channels // beside)
        tile = {"TILE_S": cut.tile_places, "TILE_C": cut.tile_channels, "num_warps": self.tiling.warps}
        yield Launch(
            sums.moments_kernel,
            (cut.parts * cut.channel_blocks, samples),
            (x, parts_means, parts_squares, self.places, cut.part_places, cut.parts),
            {"C": beside, **tile},
        )
        yield Launch(
            sums.join_moments_kernel,
            (-(-beside // JOIN_CHANNELS), samples),
            (parts_means, parts_squares, mean, rstd, self.places, cut.part_places, cut.parts, self.eps),
            {"C": beside, "TILE_P": join_parts(cut), "TILE_C": JOIN_CHANNELS},
        )
        tile_channels = tile_channels_of(min(beside, self.channels_beside_out))
        tile_places = max(self.tiling.tile_elements // tile_channels, 1)
        part_places = self.tiling.apply_tiles * tile_places
        yield Launch(
            device.apply_kernel,
            (-(-self.places // part_places) * -(-self.channels // tile_channels), self.samples),
            (x, y, mean, rstd, weight, bias, self.places, part_places, self.slope, self.inverse),
            {
                "C": self.channels,
                "V_IN": beside,
                "V_OUT": self.channels_beside_out,
                "TILE_S": tile_places,
                "TILE_C": tile_channels,
                "num_warps": self.tiling.warps,
            },
        )


@dataclass(frozen=True)
class Launch:
    kernel: Any
    grid: tuple[int, int]
    arguments: tuple[Any, ...]
    options: dict[str, int]

    def run(self) -> None:
        """On PyTorch's current stream."""
        self.kernel[self.grid](*self.arguments, **self.options)

    def compile(self) -> None:
        """Makes the machine code without running it."""
        self.kernel.warmup(*self.arguments, grid=self.grid, **self.options)
