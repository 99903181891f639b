"""Loaders: batches of augmented patches, by PyTorch or by DALI, from the same draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import torch_loader
from .batch import Batch, LoaderOptions
from .cases import ARRAY_FILES, Cases
from .draws import Sampling

__all__ = ["ARRAY_FILES", "Batch", "Cases", "LoaderOptions", "Sampling", "open_loader"]


def open_loader(kind: str) -> Callable[[Cases, Sampling, LoaderOptions], Iterator[Batch]]:
    """``batches(cases, sampling, options)`` of the loader: "torch" or "dali"."""
    if kind == "torch":
        return torch_loader.batches
    # Its import takes a second: not where it is not used.
    from . import dali_loader

    return dali_loader.batches
