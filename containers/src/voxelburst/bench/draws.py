"""MLPerf's augmentation of its 3D U-Net, as draws that every loader understands.

recipe.md 7.3 (mlcommons/training, unet3d): foreground in 0.4 of the patches; flip with probability 1/3 an
axis; brightness with probability 0.1, factor U(0.7, 1.3) as NVIDIA's submission has it (the reference
multiplies by 1 + that factor, a slip); noise with probability 0.1, sigma U(0, 0.1). No rotation, scaling,
blur or gamma.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..contract import Zyx, frozen
from ..loaders.draws import PLAIN, Draw, Sampling, foreground_voxel

FOREGROUND_PROBABILITY = 0.4
FLIP_PROBABILITY = 1 / 3
BRIGHTNESS_PROBABILITY, BRIGHTNESS = 0.1, (0.7, 1.3)
NOISE_PROBABILITY, NOISE_SIGMA = 0.1, (0.0, 0.1)


@frozen
class MlperfSampling(Sampling):
    """Patches lie inside their case, as far as it is large enough."""

    def draw(
        self,
        step: int,
        position: int,
        shapes: list[Zyx],
        foreground: list[Mapping[str, NDArray[np.int32]]],
    ) -> Draw:
        rng = self.generator(step, position)
        case = int(rng.integers(len(shapes)))
        highs = [max(0, n - p) for n, p in zip(shapes[case], self.patch, strict=True)]
        first = [int(rng.integers(high + 1)) for high in highs]
        if rng.random() < FOREGROUND_PROBABILITY and foreground[case]:
            centred = zip(foreground_voxel(rng, foreground[case]), self.patch, highs, strict=True)
            first = [min(max(int(v) - p // 2, 0), high) for v, p, high in centred]
        brightness = float(rng.uniform(*BRIGHTNESS)) if rng.random() < BRIGHTNESS_PROBABILITY else None
        return Draw(
            case=case,
            start=(first[0], first[1], first[2]),
            angles=None,
            scale=None,
            matrix=None,
            noise_sigma=float(rng.uniform(*NOISE_SIGMA)) if rng.random() < NOISE_PROBABILITY else None,
            noise_seed=int(rng.integers(2**63)),
            channels=[dataclasses.replace(PLAIN, brightness=brightness)] * self.channels,
            mirror=tuple(bool(u < FLIP_PROBABILITY) for u in rng.random(3)),  # type: ignore[arg-type]
        )
