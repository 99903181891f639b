"""Rows of engines: windows/s of the network with random weights, and of whole volumes without files around
them.

Axes: n window, c channel, k class, d h w space.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import engines, models
from ..engines import Engine, Site, onnx_runtime
from ..engines.onnx_export import export
from ..models import WEIGHTS_FILE
from ..training.clock import StepClock
from ..training.gpu_busy import GpuBusy
from .operations import teraflop
from .profile import engine_profile
from .training_rows import Measuring, Work, rounded


def engine_rows(
    work: Work, names: Sequence[str], measuring: Measuring, *, profile: bool = False
) -> list[tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """A job an engine and precision that it would try here; with `profile`, on a GPU, each gives two rows."""

    def job(name: str, precision: str) -> Callable[[], list[dict[str, Any]]]:
        return lambda: _rows(work, name, precision, measuring, profile and work.device.type == "cuda")

    jobs = []
    for name in names:
        # An engine that is missing becomes one row that says what it lacks.
        tried = engines.precisions(name) if engines.missing(name) is None else ("fp32",)
        jobs += [(f"engine {name}, {precision}", job(name, precision)) for precision in tried]
    return jobs


def _rows(work: Work, name: str, precision: str, measuring: Measuring, profile: bool) -> list[dict[str, Any]]:
    """Raises StageError: EngineUnavailable, with what it lacks."""
    lacks = engines.missing(name)
    if lacks:
        raise lacks
    with tempfile.TemporaryDirectory(prefix="voxelburst-engine-") as temporary:
        site = Site(folder=Path(temporary), network=work.network, patch=work.patch)
        torch.manual_seed(0)
        model = models.build(work.network).eval()
        models.save_weights(model, site.folder / WEIGHTS_FILE)
        export(model, site, "fp32", site.folder / onnx_runtime.MODEL_FILE)
        began = time.monotonic()
        entry = engines.make(name, model, site, precision, lambda: _windows(work))
        engine: Engine = engines._module(name).load(site, entry)  # no model.json here, which `load` reads
        build_seconds = time.monotonic() - began
        try:
            rows = [_measured(work, engine, build_seconds, measuring)]
            if profile:
                rows.append(engine_profile(work, engine))
            return rows
        finally:
            del engine
            torch.compiler.reset()
            gc.collect()
            if work.device.type == "cuda":
                torch.cuda.empty_cache()


def _windows(work: Work) -> Iterator[torch.Tensor]:
    """A window from the middle of each case: windows_cdhw."""
    for case, (d, h, w) in enumerate(work.cases.shapes):
        start = [(n - p) // 2 for n, p in zip((d, h, w), work.patch, strict=True)]
        image_cdhw, _ = work.cases.patch(case, (start[0], start[1], start[2]), work.patch)
        yield torch.from_numpy(image_cdhw)


def _measured(work: Work, engine: Engine, build_seconds: float, measuring: Measuring) -> dict[str, Any]:
    windows_ncdhw = torch.randn(engine.batch, work.network.input_channels, *work.patch, device=engine.device)
    for _ in range(3):
        engine(windows_ncdhw)
    clock, busy = StepClock(engine.device), GpuBusy(engine.device)
    taken: list[float] = []
    began = time.monotonic()
    with busy:
        clock.start()
        while len(taken) < measuring.steps or time.monotonic() - began < measuring.seconds:
            for _ in range(5):
                engine(windows_ncdhw)
                clock.step()
            taken += clock.collect()
            if time.monotonic() - began > measuring.limit_seconds:
                break
    forward, _ = teraflop(work.network, work.patch)
    rate = engine.batch / float(np.mean(taken))
    peak = work.matrix_peak.get(engine.precision)
    return {
        "kind": "engine",
        "engine": engine.name,
        "precision": engine.precision,
        "batch": engine.batch,
        "patch": list(work.patch),
        "channels": work.network.input_channels,
        "timed": "the model's call on windows on its device, float32 in and out; random weights",
        "buildSeconds": round(build_seconds, 2),
        "calls": len(taken),
        "windowsPerSecond": round(rate, 3),
        "p50Ms": round(1000 * float(np.quantile(taken, 0.5)), 3),
        "p95Ms": round(1000 * float(np.quantile(taken, 0.95)), 3),
        "gpuBusyPercent": busy.percent,
        "watts": busy.watts,
        "teraflopPerWindow": rounded(forward),
        "teraflopPerSecond": rounded(rate * forward),
        "peakShare": rounded(rate * forward / peak) if peak else None,
        "fallbacks": list(engine.fallbacks),
    }
