"""Rows of training strategies: warm-up and measured steps, with loading and on one resident batch.

Axes: n sample, c channel, d h w space.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import host
from ..contract import Network, Zyx, frozen
from ..loaders import Batch, Cases, LoaderOptions, Sampling, open_loader
from ..loaders.torch_loader import workers_of
from ..models.zoo import supervision_weights
from ..training.clock import StepClock, of_first_rank
from ..training.gpu_busy import GpuBusy
from ..training.launch import Rank
from ..training.memory import keep_freed_memory
from ..training.network import network_for
from ..training.optimizer import optimizer_of
from ..training.step import LossOptions, TrainingStep
from ..training.strategy import Strategy, strategy_of
from .draws import MlperfSampling
from .operations import teraflop

AUGMENTATIONS = {"recipe": Sampling, "mlperf": MlperfSampling}
# What `fused` adds, each left out alone: an ablation. Without residence regions are streamed from memory;
# without the norm's kernel channels-last does not pay.
WITHOUT: dict[str, dict[str, Any]] = {
    "graph": {"graph": False},
    "gpu-loader": {"loader": "dali"},
    "residence": {},
    "stem": {"fused_stem": False},
    "upsample": {"matmul_upsample": False},
    "fused-norm": {"fused_norm": False},
    "channels-last": {"channels_last": False, "fused_norm": False, "fused_stem": False},
    "compile": {"compiled": False, "graph": False},
}


@frozen
class Work:
    """What the rows train on.

    folders: of the cases' arrays. batch: of a device. median_shape: of the cases, for volumes/s; None where
    they stand for none. matrix_peak: TFLOP/s by type.
    """

    cases: Cases
    folders: list[Path]
    network: Network
    patch: Zyx
    batch: int
    precision: str
    masked: list[bool]
    batch_dice: bool
    dummy2d: bool
    median_shape: Zyx | None
    device: torch.device
    matrix_peak: dict[str, float]


@frozen
class Measuring:
    """How long: at least `steps` steps and `seconds` seconds, but no more than `limit_seconds`."""

    warm_up: int = 12
    steps: int = 30
    seconds: float = 3.0
    limit_seconds: float = 30.0


ALONE = Rank(rank=0, ranks=1, local_rank=0)


def training_row(
    work: Work,
    name: str,
    augmentation: str,
    measuring: Measuring,
    *,
    without: str | None = None,
    me: Rank = ALONE,
) -> dict[str, Any]:
    """Trains with a strategy for some steps; the row, in the wire's names. Of several ranks, this one's own.

    Raises:
        StageError: what the strategy raises. RuntimeError: what PyTorch does, memory included.
    """
    strategy = strategy_of(name, work.precision, work.device)
    if without:
        strategy = dataclasses.replace(strategy, **WITHOUT[without])
    try:
        return _measured(work, name, strategy, augmentation, measuring, without, me)
    finally:
        # Of a compiled function torch.compile keeps eight shapes at most; graphs and workers hold memory.
        torch.compiler.reset()
        gc.collect()
        if work.device.type == "cuda":
            torch.cuda.empty_cache()


def _measured(
    work: Work,
    name: str,
    strategy: Strategy,
    augmentation: str,
    measuring: Measuring,
    without: str | None,
    me: Rank,
) -> dict[str, Any]:
    device = work.device
    on_gpu = device.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        torch.set_num_threads(host.cpus())
        keep_freed_memory()
    began = time.monotonic()
    take = step_of(work, strategy, me)
    source = batches_of(work, strategy, augmentation, resident=without != "residence", me=me)
    with contextlib.closing(source):
        first = seconds_of(
            lambda: take(next(source), 0.01), device, measuring.warm_up, 0, measuring.limit_seconds
        )
        warm_up_seconds = time.monotonic() - began
        busy = GpuBusy(device)
        with busy:
            loaded = seconds_of(
                lambda: take(next(source), 0.01),
                device,
                measuring.steps,
                measuring.seconds,
                measuring.limit_seconds,
            )
        kept = next(source)
        kept = Batch(image_ncdhw=kept.image_ncdhw.clone(), label_ndhw=kept.label_ndhw.clone())
    resident = seconds_of(
        lambda: take(kept, 0.01),
        device,
        max(5, measuring.steps // 2),
        measuring.seconds / 2,
        measuring.limit_seconds,
    )
    loss = float(take.mean_loss())
    patches_per_second = work.batch / float(loaded.mean())
    _, training_teraflop = teraflop(work.network, work.patch)
    rate = patches_per_second * training_teraflop
    peak = work.matrix_peak.get(strategy.precision)
    volumes_per_second = None
    if work.median_shape:
        volumes_per_second = patches_per_second * math.prod(work.patch) / math.prod(work.median_shape)
    return {
        "kind": "training",
        "strategy": name,
        **({"without": without} if without else {}),
        "augmentation": augmentation,
        "precision": strategy.precision,
        "loader": strategy.loader,
        "batch": work.batch,
        "patch": list(work.patch),
        "channels": work.network.input_channels,
        "warmUpSteps": len(first),
        "warmUpSeconds": round(warm_up_seconds, 2),
        "steps": len(loaded),
        "patchesPerSecond": rounded(patches_per_second),
        "volumesPerSecond": rounded(volumes_per_second),
        "p50Ms": rounded(1000 * float(np.quantile(loaded, 0.5))),
        "p95Ms": rounded(1000 * float(np.quantile(loaded, 0.95))),
        "residentPatchesPerSecond": rounded(work.batch / float(resident.mean())),
        "loadingRatio": rounded(float(np.median(loaded) / np.median(resident))),
        "gpuBusyPercent": busy.percent,
        "watts": busy.watts,
        "teraflopPerPatch": rounded(training_teraflop),
        "teraflopPerSecond": rounded(rate),
        "peakShare": rounded(rate / peak) if peak else None,
        "peakMemoryMiB": round(torch.cuda.max_memory_reserved(device) / 2**20)
        if on_gpu
        else host.peak_memory_mib(),
        "lossAfter": rounded(loss),
        "graph": strategy.graph and take.graph_failure is None,
        "fallbacks": strategy.fallbacks
        + ([f"No CUDA graph: {take.graph_failure}"] if take.graph_failure else []),
    }


def step_of(work: Work, strategy: Strategy, me: Rank = ALONE) -> TrainingStep:
    """A step of an untrained network, its gradients' mean over the ranks."""
    network = network_for(work.network, strategy, work.device, seed=0).train()
    return TrainingStep(
        network,
        optimizer_of("sgd", network.parameters())[0],
        torch.amp.GradScaler(work.device.type, enabled=strategy.precision == "fp16"),
        strategy,
        LossOptions(level_weights=supervision_weights(work.network), batch_dice=work.batch_dice),
        work.device,
        ranks=me.ranks,
    )


def batches_of(
    work: Work, strategy: Strategy, augmentation: str, *, resident: bool = True, me: Rank = ALONE
) -> Any:
    """An endless generator of this rank's part of the batches."""
    sampling = AUGMENTATIONS[augmentation](
        seed=0,
        patch=work.patch,
        batch=work.batch * me.ranks,
        channels=work.network.input_channels,
        dummy2d=work.dummy2d,
    )
    options = LoaderOptions(
        first_step=0,
        positions=range(me.rank * work.batch, (me.rank + 1) * work.batch),
        classes=work.network.output_classes,
        masked=work.masked,
        device=work.device,
        workers=workers_of(work.device),
        resident=resident,
    )
    made: Iterator[Batch] = open_loader(strategy.loader)(work.cases, sampling, options)
    return made


def seconds_of(
    step: Callable[[], None], device: torch.device, least: int, least_seconds: float, limit_seconds: float
) -> np.ndarray:
    """Seconds of each step, from one's end to the next one's, on the GPU's own time line.

    Ranks take as many steps as the first of them finds right: they wait for each other in every one.
    """
    clock = StepClock(device)
    taken: list[float] = []
    began = time.monotonic()
    clock.start()
    together = 2
    while True:
        for _ in range(together):
            step()
            clock.step()
        taken += clock.collect()
        own = [float(np.median(taken[-together:])), time.monotonic() - began]
        pace, elapsed = of_first_rank(own, device)
        # About a second's worth is asked for at once: to wait for the GPU more often would hold it up.
        together = min(200, max(1, round(1 / max(pace, 1e-6))))
        if (len(taken) >= least and elapsed >= least_seconds) or elapsed > limit_seconds:
            return np.array(taken)


def cases_in(folders: list[Path]) -> Cases:
    """Cases of arrays' folders, named by their place."""
    named = {f"{number:04d}": folder for number, folder in enumerate(folders)}
    return Cases(list(named), lambda case_id, name: named[case_id] / name)


def rounded(value: float | None) -> float | None:
    """To five digits."""
    return None if value is None else float(f"{value:.5g}")
