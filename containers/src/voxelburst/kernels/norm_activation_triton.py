"""Launches the kernels of norm_activation_kernels.py: how the work is cut, and in which order.

Axes: n sample, s place in space (d, h, w flattened), c channel, p part (a run of places that one program
reduces).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton

from . import norm_activation_kernels as device


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How the work is cut. The defaults are what runs; `python -m voxelburst.kernels.bench` times others.

    tile_elements: elements that a program has in hand at a time: 16 a thread with 4 warps, so each loads 32
        bytes of bfloat16 before it needs the first.
    programs_per_sample: parts a sample is cut into, if they have at least `min_tiles` tiles each (so that
        writing a part's sums costs little beside reading it) and no more than `max_tiles` (which bounds the
        rounding error: `_moments_of`).
    small_places: volumes of up to so many places take the one-launch path.
    """

    tile_elements: int = 2048
    warps: int = 4
    programs_per_sample: int = 1024
    min_tiles: int = 4
    max_tiles: int = 64
    small_places: int = 1024
    apply_tiles: int = 4


DEFAULT = Tiling()

# Channels of a tile. 64 of bfloat16 are one 128-byte line of the cache.
MAX_CHANNELS = 64
# ... where programs are few: 16 channels of bfloat16 are a 32-byte sector, the least that memory moves.
_FEW_CHANNELS = 16
# The kernels that join parts: 8 float32 are a sector.
JOIN_CHANNELS = 8
_JOIN_PARTS = 256


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A tiling for one shape."""

    tile_channels: int
    tile_places: int
    channel_blocks: int
    part_places: int
    parts: int
    apply_places: int
    small: bool


def cut_of(places: int, channels: int, tiling: Tiling = DEFAULT) -> Cut:
    """How the work on a sample of so many places and channels is cut."""
    small = places <= tiling.small_places
    tile_channels = tile_channels_of(channels, _FEW_CHANNELS if small else MAX_CHANNELS)
    tile_places = max(tiling.tile_elements // tile_channels, 1)
    if small:
        tile_places = min(tile_places, triton.next_power_of_2(places))
    blocks = -(-channels // tile_channels)
    tiles = -(-places // tile_places)
    wanted = -(-tiles * blocks // tiling.programs_per_sample)
    tiles_of_part = min(max(wanted, tiling.min_tiles), tiling.max_tiles)
    part_places = tiles_of_part * tile_places
    return Cut(
        tile_channels=tile_channels,
        tile_places=tile_places,
        channel_blocks=blocks,
        part_places=part_places,
        parts=-(-places // part_places),
        apply_places=tiling.apply_tiles * tile_places,
        small=small,
    )


def tile_channels_of(channels: int, limit: int = MAX_CHANNELS) -> int:
    """The largest power of two up to `limit` that divides the channels; below 16 one that covers them."""
    divisor = min(channels & -channels, limit)
    if divisor >= min(_FEW_CHANNELS, limit):
        return divisor
    return min(triton.next_power_of_2(channels), limit)


def forward(
    x_nsc: torch.Tensor,
    weight_c: torch.Tensor,
    bias_c: torch.Tensor,
    eps: float,
    slope: float,
    *,
    y_nsc: torch.Tensor,
    mean_nc: torch.Tensor,
    rstd_nc: torch.Tensor,
    tiling: Tiling = DEFAULT,
) -> None:
    """Writes y, and the mean and 1 / sqrt(variance + eps) of each sample and channel.

    x_nsc and y_nsc are contiguous, of one type (bfloat16, float16 or float32) and not empty; mean_nc and
    rstd_nc contiguous float32; weight_c and bias_c contiguous, of any of these types.
    """
    samples, places, channels = x_nsc.shape
    cut = cut_of(places, channels, tiling)
    tile = {"C": channels, "TILE_S": cut.tile_places, "TILE_C": cut.tile_channels, "num_warps": tiling.warps}
    if cut.small:
        device.small_forward_kernel[(cut.channel_blocks, samples)](
            x_nsc, y_nsc, mean_nc, rstd_nc, weight_c, bias_c, places, eps, slope, **tile
        )
        return
    means_npc, squares_npc = _scratch(x_nsc, cut)
    device.moments_kernel[(cut.parts * cut.channel_blocks, samples)](
        x_nsc, means_npc, squares_npc, places, cut.part_places, cut.parts, **tile
    )
    device.join_moments_kernel[(-(-channels // JOIN_CHANNELS), samples)](
        means_npc, squares_npc, mean_nc, rstd_nc, places, cut.part_places, cut.parts, eps,
        C=channels, TILE_P=join_parts(cut), TILE_C=JOIN_CHANNELS,
    )  # fmt: skip
    device.apply_kernel[(-(-places // cut.apply_places) * cut.channel_blocks, samples)](
        x_nsc, y_nsc, mean_nc, rstd_nc, weight_c, bias_c, places, cut.apply_places, slope, **tile
    )


def backward(
    dy_nsc: torch.Tensor,
    x_nsc: torch.Tensor,
    weight_c: torch.Tensor,
    bias_c: torch.Tensor,
    mean_nc: torch.Tensor,
    rstd_nc: torch.Tensor,
    slope: float,
    *,
    dx_nsc: torch.Tensor,
    dweight_nc: torch.Tensor,
    dbias_nc: torch.Tensor,
    tiling: Tiling = DEFAULT,
) -> None:
    """Writes dx, and each sample's part of the gradients of bias and weight.

    The arrays are as in `forward`; dbias_nc and dweight_nc contiguous float32.
    """
    samples, places, channels = x_nsc.shape
    cut = cut_of(places, channels, tiling)
    tile = {"C": channels, "TILE_S": cut.tile_places, "TILE_C": cut.tile_channels, "num_warps": tiling.warps}
    if cut.small:
        device.small_backward_kernel[(cut.channel_blocks, samples)](
            x_nsc, dy_nsc, dx_nsc, mean_nc, rstd_nc, weight_c, bias_c, dbias_nc, dweight_nc,
            places, slope, **tile,
        )  # fmt: skip
        return
    sums_npc, products_npc = _scratch(x_nsc, cut)
    device.gradient_sums_kernel[(cut.parts * cut.channel_blocks, samples)](
        x_nsc, dy_nsc, mean_nc, rstd_nc, weight_c, bias_c, sums_npc, products_npc,
        places, cut.part_places, cut.parts, slope, **tile,
    )  # fmt: skip
    device.join_sums_kernel[(-(-channels // JOIN_CHANNELS), samples)](
        sums_npc, products_npc, dbias_nc, dweight_nc, cut.parts,
        C=channels, TILE_P=join_parts(cut), TILE_C=JOIN_CHANNELS,
    )  # fmt: skip
    device.gradient_kernel[(-(-places // cut.apply_places) * cut.channel_blocks, samples)](
        x_nsc, dy_nsc, dx_nsc, mean_nc, rstd_nc, weight_c, bias_c, dbias_nc, dweight_nc,
        places, cut.apply_places, slope, **tile,
    )  # fmt: skip


def _scratch(x_nsc: torch.Tensor, cut: Cut) -> tuple[torch.Tensor, torch.Tensor]:
    """Two float32 arrays of one value a part and channel."""
    samples, _, channels = x_nsc.shape
    first, second = x_nsc.new_empty((2, samples, cut.parts, channels), dtype=torch.float32)
    return first, second


def join_parts(cut: Cut) -> int:
    """Parts that one step of the joining kernels reads."""
    return min(_JOIN_PARTS, triton.next_power_of_2(cut.parts))
