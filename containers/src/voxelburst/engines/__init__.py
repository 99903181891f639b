"""Engines: compiled models behind one call. `make` builds one into a model folder, `load` runs it from there.

A module an engine, each with `missing(device)`, `make(model, site)` and `load(site, entry)`.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from ..contract import EngineFile, ModelFolder
from ..errors import StageError
from . import inductor, onnx_runtime, pytorch, tensorrt_engine
from .engine import Engine, Site, device

__all__ = ["NAMES", "Engine", "Site", "available", "device", "load", "make", "missing"]

_MODULES: dict[str, ModuleType] = {
    module.NAME: module for module in (pytorch, inductor, onnx_runtime, tensorrt_engine)
}
NAMES = tuple(_MODULES)


def missing(name: str, where: torch.device | None = None) -> StageError | None:
    """EngineUnavailable: what an engine lacks on a device and where that can be had. None when it can run."""
    return _MODULES[name].missing(where or device())


def available(where: torch.device | None = None) -> list[str]:
    """Names of the engines that can run on a device."""
    return [name for name in _MODULES if missing(name, where) is None]


def make(name: str, model: nn.Module, site: Site) -> EngineFile:
    """Builds an engine into ``site.folder``, which holds the weights and model.onnx already.

    Raises:
        StageError: EngineUnavailable, EngineBuildFailed.
    """
    lacks = missing(name)
    if lacks:
        raise lacks
    return _MODULES[name].make(model, site)


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
    return _MODULES[entry.engine].load(site, entry)
