"""What is drawn for one sample: its place and its augmentation (nnU-Net v2's default trainer; recipe.md, 3).

Both loaders take their parameters from here, so their distributions are the same by construction. A sample's
generator is keyed by (seed, step, position in the global batch): a resumed run draws what the interrupted one
would have drawn, and ranks that share a batch by position draw no sample twice.

Axes: d h w, the arrays' own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..contract import Plan, Zyx, frozen

T = TypeVar("T")
Matrix = NDArray[np.float64]

# Recipe.md 3.1 and 3.2.
UNFORCED_SHARE = 0.67
ROTATION_PROBABILITY, ROTATION_RADIANS, DUMMY2D_RADIANS = 0.2, math.radians(30), math.radians(180)
SCALE_PROBABILITY, SCALE = 0.2, (0.7, 1.4)
NOISE_PROBABILITY, NOISE_SIGMA = 0.1, (0.0, 0.1)
BLUR_PROBABILITY, BLUR_CHANNEL_PROBABILITY, BLUR_SIGMA = 0.2, 0.5, (0.5, 1.0)
BRIGHTNESS_PROBABILITY, BRIGHTNESS = 0.15, (0.75, 1.25)
CONTRAST_PROBABILITY, CONTRAST = 0.15, (0.75, 1.25)
ZOOM_PROBABILITY, ZOOM_CHANNEL_PROBABILITY, ZOOM = 0.25, 0.5, (0.5, 1.0)
INVERTED_GAMMA_PROBABILITY, GAMMA_PROBABILITY, GAMMA = 0.1, 0.3, (0.7, 1.5)
MIRROR_PROBABILITY = 0.5
# Regions are cut for scales down to this one, which is what decides where unforced patches may lie.
_REGION_SCALE = 0.85


@frozen
class ChannelDraw:
    """Intensity changes of one channel; None where a change was not drawn."""

    blur_sigma: tuple[float, float, float] | None
    brightness: float | None
    contrast: float | None
    zoom: float | None
    inverted_gamma: float | None
    gamma: float | None


PLAIN = ChannelDraw(
    blur_sigma=None, brightness=None, contrast=None, zoom=None, inverted_gamma=None, gamma=None
)


@frozen
class Draw:
    """One sample.

    start: first voxel of the patch in the case's arrays; it may lie outside of them.
    matrix: 3x3, from an offset from the patch's centre to one in the case; None without rotation or scaling.
    """

    case: int
    start: Zyx
    angles: tuple[float, float, float] | None
    scale: float | None
    matrix: Matrix | None
    noise_sigma: float | None
    noise_seed: int
    channels: list[ChannelDraw]
    mirror: tuple[bool, bool, bool]

    def plain(self) -> Draw:
        """The same patch without augmentation."""
        return dataclasses.replace(
            self,
            matrix=None,
            noise_sigma=None,
            channels=[PLAIN for _ in self.channels],
            mirror=(False, False, False),
        )


@frozen
class Sampling:
    """What samples are drawn for. batch: the global one."""

    seed: int
    patch: Zyx
    batch: int
    channels: int
    dummy2d: bool

    @classmethod
    def of(cls, plan: Plan) -> Sampling:
        return cls(
            seed=plan.seed,
            patch=plan.patch,
            batch=plan.batch,
            channels=plan.network.input_channels,
            dummy2d=plan.dummy2d,
        )

    def generator(self, step: int, position: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, step, position))

    def forced(self, step: int, position: int) -> bool:
        """Whether this sample must hold foreground: the last third of a batch, always the same positions.

        A batch of one, which nnU-Net has not, has no last third: every third step is forced.
        """
        if self.batch == 1:
            return step % 3 == 2
        return position >= round(UNFORCED_SHARE * self.batch)

    def draw(
        self,
        step: int,
        position: int,
        shapes: list[Zyx],
        foreground: list[Mapping[str, NDArray[np.int32]]],
    ) -> Draw:
        """The sample at a position of a step's batch, of cases with these shapes and foreground voxels."""
        rng = self.generator(step, position)
        case = int(rng.integers(len(shapes)))
        start = self._start(rng, shapes[case], foreground[case] if self.forced(step, position) else {})
        angles = self._angles(rng)
        scale = _maybe(rng, SCALE_PROBABILITY, lambda: rng.uniform(*SCALE))
        noise_sigma = _maybe(rng, NOISE_PROBABILITY, lambda: rng.uniform(*NOISE_SIGMA))
        return Draw(
            case=case,
            start=start,
            angles=angles,
            scale=scale,
            matrix=self.matrix(angles, scale),
            noise_sigma=noise_sigma,
            noise_seed=int(rng.integers(2**63)),
            channels=_channels(rng, self.channels),
            mirror=tuple(bool(u < MIRROR_PROBABILITY) for u in rng.random(3)),  # type: ignore[arg-type]
        )

    def _start(
        self, rng: np.random.Generator, shape: Zyx, foreground: Mapping[str, NDArray[np.int32]]
    ) -> Zyx:
        """nnU-Net's place of a patch: that of a region large enough to rotate and scale in.

        Where the region is larger than the case, it is centred to within a voxel.
        """
        region = region_shape(self.patch, self.dummy2d)
        pads = [max(0, r - n) for r, n in zip(region, shape, strict=True)]
        lows = [-pad // 2 for pad in pads]
        highs = [n + pad // 2 + pad % 2 - r for n, pad, r in zip(shape, pads, region, strict=True)]
        if foreground:
            voxel = foreground_voxel(rng, foreground)
            first = [max(low, int(v) - r // 2) for low, v, r in zip(lows, voxel, region, strict=True)]
        else:
            first = [int(rng.integers(low, high + 1)) for low, high in zip(lows, highs, strict=True)]
        d, h, w = (f + (r - p) // 2 for f, r, p in zip(first, region, self.patch, strict=True))
        return d, h, w

    def _angles(self, rng: np.random.Generator) -> tuple[float, float, float] | None:
        if self.dummy2d:
            return _maybe(
                rng,
                ROTATION_PROBABILITY,
                lambda: (float(rng.uniform(-DUMMY2D_RADIANS, DUMMY2D_RADIANS)), 0.0, 0.0),
            )
        return _maybe(
            rng,
            ROTATION_PROBABILITY,
            lambda: tuple(rng.uniform(-ROTATION_RADIANS, ROTATION_RADIANS, 3).tolist()),
        )

    def matrix(self, angles: tuple[float, float, float] | None, scale: float | None) -> Matrix | None:
        """Rotation then scaling of sampling offsets: a scale above 1 shrinks what is seen."""
        if angles is None and scale is None:
            return None
        factors = np.full(3, scale if scale is not None else 1.0)
        if self.dummy2d:
            factors[0] = 1.0
        return np.diag(factors) @ rotation(angles or (0.0, 0.0, 0.0))


def foreground_voxel(
    rng: np.random.Generator, foreground: Mapping[str, NDArray[np.int32]]
) -> NDArray[np.int32]:
    """A voxel (d, h, w) of a class, each class of the case being as likely, however large."""
    names = sorted(foreground)
    voxels = foreground[names[rng.integers(len(names))]]
    voxel: NDArray[np.int32] = voxels[rng.integers(len(voxels))]
    return voxel


def rotation(angles: tuple[float, float, float]) -> Matrix:
    """Rotations by the angles (radians) about the first, second and third axis, multiplied in this order."""
    (c0, c1, c2), (s0, s1, s2) = np.cos(angles), np.sin(angles)
    about0 = np.array([[1, 0, 0], [0, c0, -s0], [0, s0, c0]])
    about1 = np.array([[c1, 0, s1], [0, 1, 0], [-s1, 0, c1]])
    about2 = np.array([[c2, -s2, 0], [s2, c2, 0], [0, 0, 1]])
    return about0 @ about1 @ about2


@functools.cache  # asked for every sample
def region_shape(patch: Zyx, dummy2d: bool) -> Zyx:
    """The region that nnU-Net cuts for a patch: 40x56x40 -> 73x80x64 (compute_initial_patch_size.py)."""
    # In-plane rotations of any angle need no more room than those of 90 degrees.
    angle = math.radians(90) if dummy2d else ROTATION_RADIANS
    size = np.array(patch, np.float64)
    largest = size.copy()
    for axis in range(3):
        angles = [0.0, 0.0, 0.0]
        angles[axis] = angle
        largest = np.maximum(largest, np.abs(size @ rotation((angles[0], angles[1], angles[2]))))
    d, h, w = (int(n / _REGION_SCALE) for n in largest)
    return (patch[0] if dummy2d else d), h, w


def _channels(rng: np.random.Generator, count: int) -> list[ChannelDraw]:
    """Whether a change happens is drawn once a sample, its strength for each channel."""
    blur, brightness, contrast, zoom, inverted, gamma = (
        rng.random(6)
        < [
            BLUR_PROBABILITY,
            BRIGHTNESS_PROBABILITY,
            CONTRAST_PROBABILITY,
            ZOOM_PROBABILITY,
            INVERTED_GAMMA_PROBABILITY,
            GAMMA_PROBABILITY,
        ]
    ).tolist()
    return [
        ChannelDraw(
            blur_sigma=_maybe(
                rng, BLUR_CHANNEL_PROBABILITY * blur, lambda: tuple(rng.uniform(*BLUR_SIGMA, 3).tolist())
            ),
            brightness=_around_one(rng, BRIGHTNESS) if brightness else None,
            contrast=_around_one(rng, CONTRAST) if contrast else None,
            zoom=_maybe(rng, ZOOM_CHANNEL_PROBABILITY * zoom, lambda: rng.uniform(*ZOOM)),
            inverted_gamma=_around_one(rng, GAMMA) if inverted else None,
            gamma=_around_one(rng, GAMMA) if gamma else None,
        )
        for _ in range(count)
    ]


def _maybe(rng: np.random.Generator, probability: float, value: Callable[[], T]) -> T | None:
    return value() if rng.random() < probability else None


def _around_one(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Below 1 in one half of the draws, above it in the other, uniform in each."""
    return float(rng.uniform(limits[0], 1) if rng.random() < 0.5 else rng.uniform(1, limits[1]))
