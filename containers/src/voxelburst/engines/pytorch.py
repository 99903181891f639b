"""`torch`: PyTorch in FP32, the reference of the parity gate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import host
from ..contract import EngineFile
from ..models import WEIGHTS_FILE, build, load_weights
from .engine import Engine, Site, device, filled, windows_a_call

NAME = "torch"


def missing(_where: torch.device) -> None:
    """Always there: the other stages need PyTorch too."""


def precisions(_where: torch.device) -> tuple[str, ...]:
    return ("fp32",)


all_precisions = precisions


def make(_model: nn.Module, _site: Site, _precision: str, _calibration: Any) -> EngineFile:
    """Nothing to build: it runs from the weights."""
    return EngineFile(engine=NAME, precision="fp32")


def load(site: Site, entry: EngineFile) -> Engine:
    return TorchEngine(site, entry)


def network_of(site: Site) -> nn.Module:
    """The trained network of a model folder, in eval mode; reading its weights runs no code of theirs."""
    model = build(site.network)
    load_weights(model, site.folder / WEIGHTS_FILE)
    return model.eval().requires_grad_(False)


class TorchEngine(Engine):
    """Strict FP32: on a GPU without TF32, whose ten bits of mantissa are no reference."""

    def __init__(self, site: Site, entry: EngineFile) -> None:
        self.name = NAME
        self.precision = entry.precision
        self.device = device()
        self.batch = windows_a_call(site, self.device)
        torch.set_num_threads(host.cpus())
        # Of the process: nothing else in it computes in FP32 on the GPU.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self._model = network_of(site).to(self.device)

    @torch.no_grad()
    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        return self._model(filled(windows_ncdhw, self.batch))[: len(windows_ncdhw)]
