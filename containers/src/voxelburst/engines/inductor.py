"""`inductor`: torch.compile. FP16 or BF16, channels-last, on a GPU; FP32 on the CPU."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import host
from ..contract import EngineFile
from ..errors import StageError
from .engine import Engine, Site, device, filled, unavailable, windows_a_call
from .pytorch import network_of

NAME = "inductor"


def missing(where: torch.device) -> StageError | None:
    """What torch.compile lacks: Triton on a GPU, a C++ compiler and Python's headers on the CPU."""
    if where.type == "cuda":
        try:
            import triton  # noqa: F401
        except ImportError:
            return unavailable(NAME, "Triton is not installed", "Install PyTorch with its Triton package.")
        return None
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        remedy = "Install one (Debian: `apt install g++`), or use another engine."
        return unavailable(NAME, "there is no C++ compiler", remedy)
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        remedy = "Install them (Debian: `apt install python3-dev`), or use another engine."
        return unavailable(NAME, "Python's headers are missing", remedy)
    return None


def precisions(where: torch.device) -> tuple[str, ...]:
    return ("fp16",) if where.type == "cuda" else ("fp32",)


def all_precisions(where: torch.device) -> tuple[str, ...]:
    return ("fp16", "bf16") if where.type == "cuda" else ("fp32",)


def make(_model: nn.Module, site: Site, precision: str, _calibration: Any) -> EngineFile:
    """Compiles once, so that what cannot be compiled fails here. Kernels stay in torch's own cache."""
    entry = EngineFile(engine=NAME, precision=precision)
    load(site, entry)
    return entry


def load(site: Site, entry: EngineFile) -> Engine:
    return InductorEngine(site, entry)


class InductorEngine(Engine):
    """Compiled for one batch size: shorter batches are filled up, as a new shape would compile again."""

    def __init__(self, site: Site, entry: EngineFile) -> None:
        self.name = NAME
        self.precision = entry.precision
        self.device = device()
        self.batch = windows_a_call(site, self.device)
        torch.set_num_threads(host.cpus())
        model = network_of(site).to(self.device)
        if self.device.type == "cuda":
            # The fastest of cuDNN's algorithms for each convolution, not the first.
            torch.backends.cudnn.benchmark = True
            # torch.compile hoists layouts for two-dimensional convolutions only: the layout is set here.
            model = model.to(_DTYPES[entry.precision])
            model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._dtype = _DTYPES[entry.precision]
        # Frozen weights are laid out once as the CPU's convolutions want them: 2.3 times as fast on AVX2.
        options: dict[str, Any] | None = {"freezing": True} if self.device.type == "cpu" else None
        self._model = torch.compile(model, dynamic=False, fullgraph=True, options=options)
        self(torch.zeros(1, site.network.input_channels, *site.patch, device=self.device))

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        given = len(windows_ncdhw)
        windows_ncdhw = filled(windows_ncdhw, self.batch).to(self._dtype)
        if self.device.type == "cuda":
            windows_ncdhw = windows_ncdhw.contiguous(memory_format=torch.channels_last_3d)
        # no_grad rather than inference_mode: the latter marks what is compiled in it for good.
        with torch.no_grad():
            return self._model(windows_ncdhw)[:given].float()


_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
