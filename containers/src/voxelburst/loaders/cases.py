"""The arrays of a training's cases, and regions cut from them.

Axes: c channel, d h w space. Arrays stay in memory where they fit into a third of what is free; larger ones
are memory-mapped, so that a region costs the pages that it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from ..contract import Zyx, frozen
from ..errors import StageError
from .draws import Draw

ARRAY_FILES = ("image.npy", "label.npy", "foreground.npz")
_SHARE_OF_FREE_MEMORY = 1 / 3


@frozen
class Region:
    """What a patch is sampled from.

    matrix_dhw: 3x4, from a patch's voxel to the region's; None where the region is the patch itself.
    """

    image_cdhw: NDArray[np.float32]
    label_dhw: NDArray[np.int8]
    matrix_dhw: NDArray[np.float32] | None


class Cases:
    """Images, labels and foreground voxels of the cases, in the order of their ids."""

    def __init__(self, ids: Sequence[str], file_of: Callable[[str, str], Path]) -> None:
        """file_of: a path to one of `ARRAY_FILES` of a case.

        Raises:
            StageError: ArraysMissing, naming the case.
        """
        self.ids = sorted(ids)
        paths = self.paths_of(ARRAY_FILES, file_of)
        mode = self.mode_of(paths.values())
        self.images = [np.load(paths[i, "image.npy"], mmap_mode=mode) for i in self.ids]
        self.labels = [np.load(paths[i, "label.npy"], mmap_mode=mode) for i in self.ids]
        self.foreground: list[Mapping[str, NDArray[np.int32]]] = []
        for case_id in self.ids:
            with np.load(paths[case_id, "foreground.npz"]) as found:
                self.foreground.append({name: found[name] for name in found.files})
        self.shapes: list[Zyx] = [label.shape for label in self.labels]

    def paths_of(
        self, names: Sequence[str], file_of: Callable[[str, str], Path]
    ) -> dict[tuple[str, str], Path]:
        """Of the files of each case, by case and name. Raises StageError: ArraysMissing, naming the case."""
        paths = {(case_id, name): file_of(case_id, name) for case_id in self.ids for name in names}
        for (case_id, name), path in paths.items():
            if not path.exists():
                raise StageError(
                    "ArraysMissing",
                    f"Case {case_id} has no {name}: its arrays are not where the training expects them.",
                    "Run the preprocess stage again: resume the run.",
                    case_id=case_id,
                )
        return paths

    def mode_of(self, paths: Iterable[Path]) -> Literal["r"] | None:
        """How to load the arrays at the paths: into memory, or mapped where they are too large for it."""
        total = sum(path.stat().st_size for path in paths)
        self.resident = total < _SHARE_OF_FREE_MEMORY * psutil.virtual_memory().available
        return None if self.resident else "r"

    def __len__(self) -> int:
        return len(self.ids)

    def patch(self, case: int, start: Zyx, patch: Zyx) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """image_cdhw and label_dhw of a patch; outside the case the image is 0 and the label -1."""
        shape = self.shapes[case]
        image_cdhw = np.zeros((self.images[case].shape[0], *patch), np.float32)
        label_dhw = np.full(patch, -1, np.int8)
        source, target = [], []
        for first, size, extent in zip(start, patch, shape, strict=True):
            low, high = max(first, 0), min(first + size, extent)
            source.append(slice(low, max(low, high)))
            target.append(slice(low - first, max(low, high) - first))
        image_cdhw[:, target[0], target[1], target[2]] = self.images[case][:, source[0], source[1], source[2]]
        label_dhw[tuple(target)] = self.labels[case][tuple(source)]
        return image_cdhw, label_dhw

    def region(self, draw: Draw, patch: Zyx) -> Region:
        """The part of a case that a drawn patch is sampled from."""
        if draw.matrix is None:
            image_cdhw, label_dhw = self.patch(draw.case, draw.start, patch)
            return Region(image_cdhw=image_cdhw, label_dhw=label_dhw, matrix_dhw=None)
        half = (np.array(patch) - 1) / 2
        centre = np.array(draw.start) + half
        # The farthest that any corner of the patch lies from the centre, and one voxel to interpolate with.
        reach = np.abs(draw.matrix) @ half + 1
        extent = np.array(self.shapes[draw.case])
        low = np.clip(np.floor(centre - reach).astype(int), 0, extent - 1)
        high = np.clip(np.ceil(centre + reach).astype(int) + 1, low + 1, extent)
        where = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        shift = centre - draw.matrix @ half - low
        return Region(
            image_cdhw=self.images[draw.case][(slice(None), *where)],
            label_dhw=self.labels[draw.case][where],
            matrix_dhw=np.concatenate([draw.matrix, shift[:, None]], 1).astype(np.float32),
        )


def noise(draw: Draw, patch: Zyx) -> NDArray[np.float32]:
    """The standard normal field of a sample, the same for all of its channels: noise_dhw."""
    return np.random.default_rng(draw.noise_seed).standard_normal(patch, np.float32)
