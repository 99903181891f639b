"""Phantom cases as preprocess leaves them, in a folder: what a bench without a dataset trains on."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from .. import host
from ..contract import Zyx
from ..loaders import Cases
from ..phantoms.anatomy import LESION, ORGAN, Anatomy, Lattice, render

CLASSES = 3
_FOREGROUND_VOXELS = 10_000
_WIDTH_MM = 200.0


def phantom_cases(folder: Path, count: int, shape: Zyx, seed: int = 1) -> Cases:
    """Cases of one shape, images of mean 0 and standard deviation 1."""
    ids = [f"phantom-{number}" for number in range(count)]
    with ProcessPoolExecutor(min(count, host.cpus())) as processes:
        list(processes.map(partial(_write, folder, shape, seed), range(count), ids))
    return Cases(ids, lambda case_id, name: folder / case_id / name)


def _write(folder: Path, shape: Zyx, seed: int, number: int, case_id: str) -> None:
    rng = np.random.default_rng((seed, number))
    d, h, w = shape
    spacing = _WIDTH_MM / max(shape)
    lattice = Lattice(shape_xyz=(w, h, d), spacing_xyz=(spacing, spacing, spacing))
    image_dhw, label_dhw = render(Anatomy.draw(rng), lattice, rng)
    image_cdhw = image_dhw[None].astype(np.float32)
    image_cdhw -= image_cdhw.mean()
    image_cdhw /= max(float(image_cdhw.std()), 1e-8)
    (folder / case_id).mkdir(parents=True)
    np.save(folder / case_id / "image.npy", image_cdhw)
    np.save(folder / case_id / "label.npy", label_dhw.astype(np.int8))
    voxels = {}
    for value in (ORGAN, LESION):
        found = np.argwhere(label_dhw == value).astype(np.int32)
        if len(found):
            voxels[str(value)] = rng.permutation(found)[:_FOREGROUND_VOXELS]
    np.savez(folder / case_id / "foreground.npz", **voxels)  # type: ignore[arg-type]
