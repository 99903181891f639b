"""Engines: compiled models behind one call. `make` builds one into a model folder, `load` runs it from there.

A module an engine, each with `missing(device)`, `precisions(device)` to try in turn, `all_precisions(device)`
that it has, `make(model, site, precision, calibration)` and `load(site, entry)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from types import ModuleType

import torch
from torch import nn

from ..contract import EngineFile, ModelFolder
from ..errors import StageError
from .engine import Engine, Site, device

__all__ = ["NAMES", "Engine", "Site", "available", "device", "load", "make", "missing", "precisions"]

# By module, imported when it is first used: most need MONAI, whose import takes seconds.
_MODULES = {
    "torch": "pytorch",
    "inductor": "inductor",
    "onnxruntime": "onnx_runtime",
    "tensorrt": "tensorrt_engine",
    "triton": "triton_engine",
}
NAMES = tuple(_MODULES)
EIGHT_BITS = ("fp8", "int8")
# Windows of training cases, each a windows_cdhw of the patch's size.
Calibration = Callable[[], Iterable[torch.Tensor]]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".{_MODULES[name]}", __name__)


def missing(name: str, where: torch.device | None = None) -> StageError | None:
    """EngineUnavailable: what an engine lacks on a device and where that can be had. None when it can run."""
    return _module(name).missing(where or device())


def available(where: torch.device | None = None) -> list[str]:
    """Names of the engines that can run on a device."""
    return [name for name in _MODULES if missing(name, where) is None]


def precisions(name: str) -> tuple[str, ...]:
    """In which an engine can compute on this machine, the one to try first in front."""
    return _module(name).precisions(device())


def make(
    name: str, model: nn.Module, site: Site, precision: str, calibration: Calibration | None = None
) -> EngineFile:
    """Builds an engine into ``site.folder``, which holds the weights and model.onnx already.

    Raises:
        StageError: EngineUnavailable, EngineBuildFailed; PrecisionUnavailable; CalibrationMissing where eight
            bits have no training case to be calibrated on.
    """
    lacks = missing(name)
    if lacks:
        raise lacks
    module = _module(name)
    can = module.all_precisions(device())
    if precision not in can:
        raise StageError(
            "PrecisionUnavailable",
            f"The engine {name} was asked for {precision}; here it has {', '.join(can)}.",
            "Set infer.precision to one of them, or leave it out.",
            field="infer.precision",
            got=precision,
            allowed=", ".join(can),
        )
    if precision in EIGHT_BITS and calibration is None:
        raise StageError(
            "CalibrationMissing",
            f"An engine in {precision} is calibrated on training cases, and the task has none.",
            "Run plan again, or set infer.precision to fp16.",
            field="infer.precision",
            got=precision,
        )
    return module.make(model, site, precision, calibration)


def load(site: Site, model: ModelFolder, name: str | None = None) -> Engine:
    """The engine of a model folder by name, or the first that it lists.

    Raises:
        StageError: EngineNotCompiled when the folder has no such engine; EngineUnavailable when it cannot
            run here.
    """
    entry = next((e for e in model.engines if name in (None, e.engine)), None)
    if entry is None:
        has = ", ".join(e.engine for e in model.engines)
        raise StageError(
            "EngineNotCompiled",
            f"The model folder has no engine {name}; it has {has}.",
            f"Use one of {has}, or compile {name} with a run that lists it under `engines`.",
            field="engine",
            got=str(name),
            allowed=has,
        )
    lacks = missing(entry.engine)
    if lacks:
        others = [e.engine for e in model.engines if e is not entry and missing(e.engine) is None]
        if others:
            lacks.remedy += f" This folder's {others[0]} can run here."
        raise lacks
    return _module(entry.engine).load(site, entry)
