"""The network that a training starts with: what `train` trains is what `bench` times."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import models
from ..contract import Network
from ..kernels import fuse, fuse_stem, fuse_upsamples
from .strategy import Strategy


def network_for(network: Network, strategy: Strategy, device: torch.device, *, seed: int) -> nn.Module:
    """The untrained network of a plan on a device, laid out and fused as the strategy says.

    Raises:
        StageError: what `models.build` raises.
    """
    torch.manual_seed(seed)
    made: Any = models.build(network)
    made.to(device=device, memory_format=strategy.layout)
    if strategy.fused_norm:
        fuse(made)
    if strategy.fused_stem:
        fuse_stem(made)
    if strategy.matmul_upsample:
        fuse_upsamples(made)
    return made
