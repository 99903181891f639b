"""Launches the kernels of augment_kernels.py on a batch's buffers, and writes the rows that they read.

Axes: n sample, c channel, d h w space, v voxel of the patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from ..contract import Zyx
from . import augment_kernels as device

_BLOCK = 1024
# Parts of a patch, each reduced by one program: enough to fill a GPU, few enough to join in one load.
_MAX_PARTS = 128


class Rows:
    """What a batch drew, as the kernels read it: ints (a row a sample) and reals (likewise) in one array."""

    def __init__(self, samples: int, channels: int) -> None:
        self.ints_of_sample = device.CHANNELS_AT.value + channels * device.CHANNEL_INTS.value
        self.reals_of_sample = device.CHANNEL_REALS_AT.value + channels * device.CHANNEL_REALS.value
        self._samples = samples
        self._split = samples * self.ints_of_sample * 8
        self.bytes = self._split + samples * self.reals_of_sample * 4

    def views(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ints (int64) and reals (float32) of a uint8 tensor of `bytes` bytes."""
        ints = memory[: self._split].view(torch.int64).view(self._samples, self.ints_of_sample)
        reals = memory[self._split : self.bytes].view(torch.float32).view(self._samples, self.reals_of_sample)
        return ints, reals


def write_row(
    ints: NDArray[np.int64],
    reals: NDArray[np.float32],
    *,
    image_at: int,
    label_at: int,
    shape: Zyx,
    start: Zyx,
    matrix_dhw: NDArray[np.float32] | None,
    noise: tuple[float, int] | None,
    mirror: Sequence[bool],
    channels: Sequence[tuple[int, Sequence[int], Sequence[float]]],
) -> None:
    """One sample's row.

    Args:
        ints, reals: the row.
        image_at, label_at: where the sample's volume (c, d, h, w) and label begin in the flat arrays.
        shape: of the volume.
        start: the patch's first voxel in it, where there is no matrix.
        matrix_dhw: 3x4, from the patch's voxel to the volume's.
        noise: sigma and seed.
        mirror: of each axis.
        channels: of each the flags of what was drawn, low resolution's shape, and the seven reals.
    """
    flags = (device.WARPED.value if matrix_dhw is not None else 0) | (device.NOISY.value if noise else 0)
    for bit, mirrored in zip((device.MIRROR_D, device.MIRROR_H, device.MIRROR_W), mirror, strict=True):
        flags |= bit.value if mirrored else 0
    sigma, seed = noise or (0.0, 0)
    row: list[int] = [image_at, label_at, *shape, *start, flags, seed]
    values: list[float] = [0.0] * 12 if matrix_dhw is None else matrix_dhw.ravel().tolist()
    values.append(sigma)
    for drawn, small, factors in channels:
        row += [drawn, *small]
        values += factors
    ints[:] = row
    reals[:] = values


class Augmenter:
    """The buffers of a batch's patches, and the launches that fill them: the same ones whatever is drawn."""

    def __init__(
        self, samples: int, patch: Zyx, classes: int, masked: Sequence[bool], where: torch.device
    ) -> None:
        self._samples, self._patch, self._classes = samples, patch, classes
        self._channels = channels = len(masked)
        self.rows = Rows(samples, channels)
        self.memory = torch.zeros(self.rows.bytes, dtype=torch.uint8, device=where)
        self._ints, self._reals = self.rows.views(self.memory)
        voxels = math.prod(patch)
        blocks = triton.cdiv(voxels, _BLOCK)
        self._parts = min(_MAX_PARTS, blocks)
        self._part_voxels = triton.cdiv(blocks, self._parts) * _BLOCK
        self._parts = triton.cdiv(voxels, self._part_voxels)
        self._a, self._b, self._c = torch.empty(3, samples, channels, voxels, device=where).unbind()
        self._label = torch.empty(samples, voxels, dtype=torch.int8, device=where)
        self._extremes, self._moments, self._inverted, self._gamma = torch.empty(
            4, samples * channels, 4, self._parts, device=where
        ).unbind()
        self._masked = torch.tensor(masked, dtype=torch.int32, device=where)
        image_ndhwc = torch.empty(samples, *patch, channels, device=where)
        self.image_ncdhw = image_ndhwc.movedim(-1, 1)
        self.label_ndhw = torch.empty(samples, *patch, dtype=torch.uint8, device=where)

    def launch(self, image: torch.Tensor, label: torch.Tensor) -> None:
        """Fills image_ncdhw (NDHWC memory, float32) and label_ndhw from what `memory` holds.

        Args:
            image, label: flat volumes, float32 and int8.
        """
        pd, ph, pw = self._patch
        voxels = pd * ph * pw
        n, c = self._samples, self._channels
        rows = {"INTS": self.rows.ints_of_sample, "REALS": self.rows.reals_of_sample, "C": c, "BLOCK": _BLOCK}
        patch = {"PD": pd, "PH": ph, "PW": pw}
        blocks = triton.cdiv(voxels, _BLOCK)
        parts = (self._parts, self._part_voxels)
        tile = {"TILE": triton.next_power_of_2(self._parts)}
        ints, reals, a, b = self._ints, self._reals, self._a, self._b
        device.sample_kernel[(blocks, n)](
            image, label, ints, reals, a, self._label, CLASSES=self._classes, **rows, **patch
        )
        for axis, (source, target) in enumerate(((a, b), (b, self._c), (self._c, a))):
            device.blur_kernel[(blocks, n * c)](source, target, ints, reals, AXIS=axis, **rows, **patch)
        grid = (self._parts, n * c)
        device.extremes_kernel[grid](a, ints, reals, self._extremes, *parts, V=voxels, **rows)
        device.spread_kernel[grid](
            a, b, ints, reals, self._extremes, self._moments, *parts, **rows, **patch, **tile
        )
        moments = (self._moments, self._inverted, self._gamma)
        for second in (False, True):
            device.curve_kernel[grid](
                a, b, ints, reals, *moments, *parts, SECOND=second, V=voxels, **rows, **tile
            )
        device.finish_kernel[grid](
            a, b, self._label, ints, reals, *moments, self._masked, self.image_ncdhw, self.label_ndhw,
            *parts, **rows, **patch, **tile,
        )  # fmt: skip
