"""Loaders: batches of augmented patches, by PyTorch, by DALI or by Triton kernels, from the same draws."""

from __future__ import annotations

from collections.abc import Callable, Generator

from . import torch_loader
from .batch import Batch, LoaderOptions
from .cases import ARRAY_FILES, Cases
from .draws import Sampling

__all__ = ["ARRAY_FILES", "Batch", "Cases", "LoaderOptions", "Sampling", "open_loader"]


def open_loader(kind: str) -> Callable[[Cases, Sampling, LoaderOptions], Generator[Batch, None, None]]:
    """``batches(cases, sampling, options)`` of the loader: "torch", "dali" or "triton"."""
    if kind == "torch":
        return torch_loader.batches
    # Imported where they are used: DALI takes a second, and PyTorch for CPUs comes without Triton.
    if kind == "triton":
        from . import triton_loader

        return triton_loader.batches
    from . import dali_loader

    return dali_loader.batches
