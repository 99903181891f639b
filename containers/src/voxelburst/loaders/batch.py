"""What both loaders take and give."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..contract import frozen


@dataclass(frozen=True, kw_only=True)
class Batch:
    """image_ncdhw: float32; label_ndhw: uint8, or of whole volumes class_n: int64; on the device."""

    image_ncdhw: torch.Tensor
    label_ndhw: torch.Tensor


@frozen
class LoaderOptions:
    """positions: those of the global batch that this rank draws. masked: one a channel (draws, step 10).

    resident: the `triton` loader keeps all cases on the GPU, where they fit.
    """

    first_step: int
    positions: range
    classes: int
    masked: list[bool]
    device: torch.device
    workers: int
    augment: bool = True
    resident: bool = True
