"""The `torch` loader: PyTorch's DataLoader, augmentation by PyTorch on the CPU.

Axes: n sample, c channel, d h w space.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from .. import host
from .batch import Batch, LoaderOptions
from .cases import Cases, Region, noise
from .draws import ChannelDraw, Draw, Sampling


def batches(cases: Cases, sampling: Sampling, options: LoaderOptions) -> Generator[Batch, None, None]:
    """Batches from a step on, without end: the positions of this rank alone."""
    return batches_of(_Samples(cases, sampling, options), options)


def batches_of(samples: Dataset, options: LoaderOptions) -> Generator[Batch, None, None]:
    """samples: by (step, position), image_cdhw and a tensor that is stacked into the batch's label_ndhw."""
    loader = DataLoader(
        samples,
        batch_sampler=keys_of(options),
        num_workers=options.workers,
        pin_memory=options.device.type == "cuda",
        prefetch_factor=4 if options.workers else None,
        persistent_workers=False,
        collate_fn=_collate,
    )
    for image_ncdhw, label_ndhw in loader:
        yield Batch(
            image_ncdhw=image_ncdhw.to(options.device, non_blocking=True),
            label_ndhw=label_ndhw.to(options.device, non_blocking=True),
        )


def workers_of(device: torch.device) -> int:
    """Processes that augment: nnU-Net's 12 at most; none where the CPU is what trains."""
    if device.type == "cpu":
        return 0
    return max(1, min(12, host.cpus() - 1))


def keys_of(options: LoaderOptions) -> _Keys:
    """The (step, position) pairs of each batch."""
    steps = itertools.count(options.first_step)
    return _Keys([(step, position) for position in options.positions] for step in steps)


class _Keys:
    """A batch sampler of (step, position) pairs; the generator behind it never ends."""

    def __init__(self, keys: Any) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._keys)


class _Samples(Dataset):
    def __init__(self, cases: Cases, sampling: Sampling, options: LoaderOptions) -> None:
        self._cases, self._sampling, self._options = cases, sampling, options

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        draw = self._sampling.draw(*key, self._cases.shapes, self._cases.foreground)
        if not self._options.augment:
            draw = draw.plain()
        region = self._cases.region(draw, self._sampling.patch)
        return augment(
            region, draw, self._sampling, classes=self._options.classes, masked=self._options.masked
        )


def _collate(samples: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([s[0] for s in samples]), torch.stack([s[1] for s in samples])


def augment(
    region: Region, draw: Draw, sampling: Sampling, *, classes: int, masked: Sequence[bool]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One sample: image_cdhw (float32) and label_dhw (uint8), of the patch's shape.

    masked: for each channel whether it is 0 outside the mask (label -1) of its case.
    """
    image_cdhw, label_dhw = sampled(region, sampling.patch, classes)
    if draw.noise_sigma is not None:
        image_cdhw = image_cdhw + draw.noise_sigma * torch.from_numpy(noise(draw, sampling.patch))
    image_cdhw = torch.stack(
        [
            _intensities(channel_dhw, change, sampling.dummy2d)
            for channel_dhw, change in zip(image_cdhw, draw.channels, strict=True)
        ]
    )
    axes = [axis for axis in range(3) if draw.mirror[axis]]
    if axes:
        image_cdhw, label_dhw = image_cdhw.flip([axis + 1 for axis in axes]), label_dhw.flip(axes)
    if any(masked):
        outside = (label_dhw < 0) & torch.tensor(masked)[:, None, None, None]
        image_cdhw = image_cdhw.masked_fill(outside, 0.0)
    return image_cdhw, label_dhw.clamp(min=0).to(torch.uint8)


def sampled(region: Region, patch: Sequence[int], classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The patch in its region: trilinear image, zero outside; one-hot trilinear argmax label, -1 outside."""
    image_cdhw = torch.from_numpy(np.ascontiguousarray(region.image_cdhw))
    label_dhw = torch.from_numpy(np.ascontiguousarray(region.label_dhw))
    if region.matrix_dhw is None:
        return image_cdhw, label_dhw
    one_hot = torch.stack([label_dhw == value for value in range(classes)]).float()
    planes = torch.cat([image_cdhw, one_hot])[None]
    grid = _grid(torch.from_numpy(region.matrix_dhw), patch, label_dhw.shape)
    warped = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    shares = warped[len(image_cdhw) :]
    best, total = shares[0], shares[0]
    label = torch.zeros(tuple(patch), dtype=torch.int8)
    for value in range(1, classes):  # argmax over the first axis takes ten times as long on the CPU
        label.masked_fill_(shares[value] > best, value)
        best, total = torch.maximum(best, shares[value]), total + shares[value]
    # Less than half of the voxel lies inside a labelled place: outside of the case, or of its mask.
    return warped[: len(image_cdhw)], label.masked_fill_(total < 0.5, -1)


def _grid(matrix: torch.Tensor, patch: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Sampling positions in grid_sample's coordinates (x, y, z; -1 and 1 are the region's outer edges)."""
    positions = matrix[:, 3].reshape(3, 1, 1, 1)
    for axis, size in enumerate(patch):
        steps = torch.arange(size, dtype=torch.float32)
        steps = steps.reshape([size if a == axis else 1 for a in range(3)])
        positions = positions + matrix[:, axis].reshape(3, 1, 1, 1) * steps
    sizes = torch.tensor(shape, dtype=torch.float32).reshape(3, 1, 1, 1)
    return ((2 * positions + 1) / sizes - 1).flip(0).permute(1, 2, 3, 0)[None]


def _intensities(image_dhw: torch.Tensor, change: ChannelDraw, dummy2d: bool) -> torch.Tensor:
    """Transforms 3 to 8 of recipe.md's list on one channel, in its order."""
    if change.blur_sigma is not None:
        image_dhw = blurred(image_dhw, change.blur_sigma)
    if change.brightness is not None:
        image_dhw = image_dhw * change.brightness
    if change.contrast is not None:
        low, high, mean = image_dhw.min(), image_dhw.max(), image_dhw.mean()
        image_dhw = ((image_dhw - mean) * change.contrast + mean).clamp(low, high)
    if change.zoom is not None:
        image_dhw = low_resolution(image_dhw, change.zoom, dummy2d)
    if change.inverted_gamma is not None:
        image_dhw = -with_gamma(-image_dhw, change.inverted_gamma)
    if change.gamma is not None:
        image_dhw = with_gamma(image_dhw, change.gamma)
    return image_dhw


def blurred(image_dhw: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Gaussian blur, axis by axis; the window reaches 3 sigma, edges are reflected without repetition."""
    image = image_dhw[None, None]
    for axis, s in enumerate(sigma):
        radius = min(int(np.ceil(3 * s)), image_dhw.shape[axis] - 1)
        weights = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * s * s))
        weights = weights / weights.sum()
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        image = F.pad(image, padding, mode="reflect")
        shape = [1] * 5
        shape[2 + axis] = len(weights)
        image = F.conv3d(image, weights.reshape(shape))
    return image[0, 0]


def low_resolution(image_dhw: torch.Tensor, zoom: float, dummy2d: bool) -> torch.Tensor:
    """Nearest down to round(zoom x size), linear back up; dummy-2D keeps the first axis."""
    size = low_resolution_shape(image_dhw.shape, zoom, dummy2d)
    small = F.interpolate(image_dhw[None, None], size=size, mode="nearest-exact")
    return F.interpolate(small, size=image_dhw.shape, mode="trilinear", align_corners=False)[0, 0]


def low_resolution_shape(shape: Sequence[int], zoom: float, dummy2d: bool) -> list[int]:
    small = [max(1, round(n * zoom)) for n in shape]
    return [shape[0], *small[1:]] if dummy2d else small


def with_gamma(image_dhw: torch.Tensor, gamma: float) -> torch.Tensor:
    """The range to the power of gamma, then mean and standard deviation as before."""
    mean, std = image_dhw.mean(), image_dhw.std(correction=0)
    low = image_dhw.min()
    extent = (image_dhw.max() - low).clamp(min=1e-7)
    curved = ((image_dhw - low) / extent) ** gamma * extent + low
    return (curved - curved.mean()) / curved.std(correction=0).clamp(min=1e-7) * std + mean
