"""Whole volumes and their classes for a training: the torch loader's augmentation, a class for labels.

Axes: n sample, c channel, d h w space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..inference.whole import centred
from .batch import Batch, LoaderOptions
from .cases import Cases
from .draws import Sampling
from .torch_loader import augment, batches_of

IMAGE_FILE = "image.npy"


class ClassCases(Cases):
    """Images and classes of the cases, in the order of their ids.

    Where a patch lies and how it is augmented is shared with segmentation, whose label here only says what
    lies outside of a masked case (-1).
    """

    def __init__(
        self, classes: Mapping[str, int], file_of: Callable[[str, str], Path], masked: Sequence[bool]
    ) -> None:
        """classes: of each case, by id. masked: one a channel, as LoaderOptions has it.

        Raises:
            StageError: ArraysMissing, naming the case.
        """
        self.ids = sorted(classes)
        self.classes = [classes[case_id] for case_id in self.ids]
        paths = self.paths_of((IMAGE_FILE,), file_of)
        mode = self.mode_of(paths.values())
        self.images = [np.load(path, mmap_mode=mode) for path in paths.values()]
        self.labels = [_outside(image, any(masked)) for image in self.images]
        self.foreground = [{} for _ in self.ids]
        self.shapes = [label.shape for label in self.labels]


def _outside(image_cdhw: NDArray[np.float32], masked: bool) -> NDArray[np.int8]:
    """-1 where a masked case is 0 in all channels, 0 elsewhere; without a mask a view without memory."""
    if not masked:
        return np.broadcast_to(np.int8(0), image_cdhw.shape[1:])
    return np.where((image_cdhw == 0).all(0), np.int8(-1), np.int8(0))


def batches(cases: ClassCases, sampling: Sampling, options: LoaderOptions) -> Generator[Batch, None, None]:
    """Batches from a step on, without end: the positions of this rank alone."""
    return batches_of(_Volumes(cases, sampling, options), options)


def validation_volumes(
    cases: ClassCases, patch: Sequence[int], step: int
) -> Generator[tuple[torch.Tensor, int], None, None]:
    """(image_ncdhw of one case in the middle of the patch, its class) of every ``step``-th case."""
    for image, class_index in zip(cases.images[::step], cases.classes[::step], strict=True):
        yield centred(torch.from_numpy(np.array(image)), patch)[None], class_index


class _Volumes(Dataset):
    def __init__(self, cases: ClassCases, sampling: Sampling, options: LoaderOptions) -> None:
        self._cases, self._sampling, self._options = cases, sampling, options

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        draw = self._sampling.draw(*key, self._cases.shapes, self._cases.foreground)
        # A class is of the whole volume.
        draw = dataclasses.replace(draw, start=self._middle(draw.case))
        region = self._cases.region(draw, self._sampling.patch)
        image_cdhw, _ = augment(region, draw, self._sampling, classes=1, masked=self._options.masked)
        return image_cdhw, torch.tensor(self._cases.classes[draw.case])

    def _middle(self, case: int) -> tuple[int, int, int]:
        """Where the patch starts that has the case in its middle, as inference has it."""
        d, h, w = (
            -((p - n) // 2) if p >= n else (n - p) // 2
            for n, p in zip(self._cases.shapes[case], self._sampling.patch, strict=True)
        )
        return d, h, w


def balanced_weights(classes: Sequence[int], count: int) -> list[float]:
    """Of each class in the loss: cases / (classes x cases of the class): each counts the same in all."""
    counts = np.bincount(classes, minlength=count)
    return [len(classes) / (count * n) if n else 0.0 for n in counts.tolist()]
