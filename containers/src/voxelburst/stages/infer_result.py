"""What infer measured, of masks and of classes alike, and the result that says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import engines, host
from ..contract import Host, InferResult, InferTask, Latency, ModelFolder
from ..stage import Stage


@dataclass
class Measured:
    """What the child measured. All zero when there was nothing to do."""

    host: Host
    precision: str
    batch: int | None = None
    windows: int = 0
    model_seconds: float = 0.0
    file_to_mask_seconds: float = 0.0
    call_seconds: npt.NDArray[np.float64] | None = None


def result_of(
    task: InferTask, stage: Stage, measured: Measured, *, cases: int, done: int, scores_key: str
) -> InferResult:
    """cases: of this child; done: of them, this time; the others were there already."""
    calls = measured.call_seconds
    p50, p95 = (1e3 * np.percentile(calls, (50, 95))).tolist() if calls is not None and len(calls) else (0, 0)
    return stage.result(
        InferResult,
        fold=task.fold,
        strategy=task.strategy,
        engine=task.engine,
        precision=measured.precision,
        cases=cases,
        done=done,
        skipped=cases - done,
        scores_key=scores_key,
        batch=measured.batch,
        windows=measured.windows,
        windows_per_second=_rate(measured.windows, measured.model_seconds),
        model_seconds=round(measured.model_seconds, 4),
        file_to_mask_seconds=round(measured.file_to_mask_seconds, 4),
        volumes_per_second=_rate(done, measured.file_to_mask_seconds),
        window_latency=Latency(p50_ms=round(p50, 3), p95_ms=round(p95, 3)),
        gpu_busy_percent=_gpu_busy(measured),
        host=measured.host,
    )


def nothing_done(model: ModelFolder, engine: str) -> Measured:
    """For a child without work: the engine is not loaded, and its precision is what the folder says."""
    precision = next((e.precision for e in model.engines if e.engine == engine), "fp32")
    gpus = 1 if engines.device().type == "cuda" else 0
    return Measured(host=host.describe(("torch",), gpus=gpus), precision=precision)


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 4) if seconds > 0 else 0.0


def _gpu_busy(measured: Measured) -> float | None:
    """The share of the time from file to mask in which the GPU ran the model, by its own clock."""
    if measured.host.backend != "cuda" or measured.file_to_mask_seconds == 0:
        return None
    return round(min(100.0, 100 * measured.model_seconds / measured.file_to_mask_seconds), 2)
