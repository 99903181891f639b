"""train: arrays to weights. One script, the same on a CPU, a GPU, or the GPUs of several hosts.

Axes: n sample, c channel, k class, d h w space.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from .. import contract, host, models, paths
from ..contract import CurvePoint, Latency, TrainCase, TrainResult, TrainTask
from ..errors import StageError, from_exception
from ..loaders import Batch, Cases, LoaderOptions, Sampling, class_loader, open_loader
from ..loaders.class_loader import ClassCases
from ..loaders.torch_loader import workers_of
from ..models.zoo import supervision_weights
from ..stage import Stage
from ..training import class_loss, launch
from ..training.budget import StepBudget
from ..training.checkpoints import Checkpoints
from ..training.clock import StepClock, of_first_rank
from ..training.gpu_busy import GpuBusy
from ..training.loss import overlaps
from ..training.memory import keep_freed_memory
from ..training.network import network_for
from ..training.optimizer import optimizer_of
from ..training.publish import publish
from ..training.step import LossOptions, TrainingStep, autocast
from ..training.strategy import Strategy, strategy_of

CURVE_POINTS = 100
# Batches of validation patches for the pseudo Dice, at every tenth point of the curve.
PSEUDO_DICE_EVERY, PSEUDO_DICE_BATCHES = 10, 2
# What those cost in all, in steps: a forward pass is a third of one.
PSEUDO_DICE_STEPS = CURVE_POINTS / PSEUDO_DICE_EVERY * PSEUDO_DICE_BATCHES / 3

# Steps that are timed together while the number of steps is not known.
TIMED_TOGETHER = {"cpu": 1, "cuda": 10}


def run(task: TrainTask, stage: Stage) -> TrainResult | None:
    """Trains one fold with one strategy and publishes weights and model.json below the task's output prefix.

    Returns:
        None in the process that only started the ranks, and in every rank but the first.

    Raises:
        StageError: ArraysMissing, GpuMissing, BatchTooSmall, LossNotFinite, CheckpointOfAnotherTraining and
            what the models and the strategy raise.
    """
    try:
        config = launch.resource_config()
        processes = launch.processes_of(task, launch.nodes_of(config, os.environ), os.environ)
        here = launch.launch_of(processes, config, os.environ)
        if here.nodes * here.processes > 1 and not launch.under_torchrun():
            # Under SageMaker the ranks read the task from the hyperparameters, as this process did.
            launch.launch_ranks(here, sys.argv[1:])
            return None
        me = launch.Rank.here()
        with _StopAsked(me.rank) as stop:
            return _train(task, stage, me, stop)
    except Exception as cause:
        error = from_exception(cause)
        launch.leave_error(error)
        if paths.in_training_job():
            paths.write_failure(f"{error.code}: {error.message} What to do: {error.remedy}")
        raise


def _train(task: TrainTask, stage: Stage, me: launch.Rank, stop: _StopAsked) -> TrainResult | None:
    # What this process computes on.
    began = time.monotonic()
    device = _device(task, me.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(host.cpus())
        keep_freed_memory()
    if me.ranks > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    # The strategy: what it adds to the one before it.
    plan = stage.plan()
    classes = plan.dataset.classes
    strategy = strategy_of(task.strategy, plan.precision, device, of_classes=bool(classes))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    # Data.
    cases = stage.cases(TrainCase)
    masked = [bool(n.masked) for n in plan.normalisation]
    train_cases, validation_cases = (
        _cases_of([c for c in cases if c.part == part], classes, _file_of(stage, cases), masked)
        for part in ("train", "validation")
    )
    sampling = Sampling.of(plan)
    if sampling.batch < me.ranks:
        raise StageError(
            "BatchTooSmall",
            f"The plan's batch of {sampling.batch} cannot be shared by {me.ranks} processes.",
            "Set plan.batch in the recipe to at least the number of GPUs.",
            field="plan.batch",
            got=str(sampling.batch),
            allowed=f"at least {me.ranks}",
        )
    positions = range(me.rank * sampling.batch // me.ranks, (me.rank + 1) * sampling.batch // me.ranks)

    def batches(
        of: Cases, loader: str, step: int, which: range, *, augment: bool
    ) -> Generator[Batch, None, None]:
        options = LoaderOptions(
            first_step=step,
            positions=which,
            classes=plan.network.output_classes,
            masked=masked,
            device=device,
            workers=workers_of(device) if augment else 0,
            augment=augment,
        )
        if isinstance(of, ClassCases):
            return class_loader.batches(of, sampling, options)
        return open_loader(loader)(of, sampling, options)

    # Network and optimizer.
    network = network_for(plan.network, strategy, device, seed=plan.seed)
    optimizer, schedule = optimizer_of(plan.optimizer, network.parameters(), plan.network.model)
    scaler = torch.amp.GradScaler(device.type, enabled=strategy.precision == "fp16")

    # The checkpoint to go on from.
    budget, clock = StepBudget(plan.budget), StepClock(device)
    checkpoints = Checkpoints(stage.artefacts, f"{task.output_prefix}checkpoints/")
    first_step, curve = 0, []
    state = checkpoints.newest()
    if state:
        if state["inputHash"] != task.input_hash:
            raise StageError(
                "CheckpointOfAnotherTraining",
                "The checkpoint belongs to a training of other inputs.",
                "Delete the checkpoints below the training's output and resume the run.",
                got=str(state["inputHash"])[:12],
                allowed=task.input_hash[:12],
            )
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        budget.resume(state["totalSteps"])
        first_step = state["step"]
        clock.total, clock.measured = state["seconds"], state["stepSeconds"].tolist()
        curve = [contract.from_json(CurvePoint, point) for point in state["curve"]]
    del state

    def save(step: int) -> None:
        if me.rank == 0:
            checkpoints.save(
                {
                    "inputHash": task.input_hash,
                    "step": step,
                    "totalSteps": budget.total,
                    "seconds": clock.total,
                    "stepSeconds": torch.tensor(clock.measured, dtype=torch.float64),
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "curve": [contract.to_json(point) for point in curve],
                },
            )

    # The loop. Nothing in it waits for the GPU but the points of the curve.
    loss = LossOptions(
        level_weights=supervision_weights(plan.network),
        batch_dice=plan.batch_dice,
        share=len(positions) * me.ranks / sampling.batch,
        class_weights=class_loader.balanced_weights(train_cases.classes, plan.network.output_classes)
        if isinstance(train_cases, ClassCases)
        else None,
    )
    take = TrainingStep(network, optimizer, scaler, strategy, loss, device, ranks=me.ranks)
    progress = stage.progress(budget.total or budget.guess(0, 1.0), "steps", speaks=me.rank == 0)
    progress.update(first_step, f"resumed from step {first_step}" if first_step else None, skipped=True)
    step, last_save = first_step, time.monotonic()
    network.train()
    busy = GpuBusy(device)
    # Closed with the loop: a loader may have processes.
    source = batches(train_cases, strategy.loader, first_step, positions, augment=True)
    with busy, contextlib.closing(source):
        clock.start()
        while budget.total is None or step < budget.total:
            take(next(source), schedule.at(step, budget.total))
            step += 1
            clock.step()

            # Until the minutes are steps, they are timed: some at once, so that a GPU runs as it will later.
            if budget.total is None and step % TIMED_TOGETHER[device.type] == 0:
                elapsed = time.monotonic() - began
                total = None
                for number, seconds in enumerate(timed := clock.collect(), start=step - len(timed)):
                    total = budget.observe(number, seconds, elapsed, pauses=PSEUDO_DICE_STEPS)
                budget.total = _agreed(total, device)
                progress.total = budget.total or budget.guess(step, elapsed)
            point_every = max(1, (budget.total or 10 * CURVE_POINTS) // CURVE_POINTS)
            if step % point_every == 0 or step == budget.total:
                clock.collect()
                mean_loss = _mean_over_ranks(take.mean_loss())
                if not np.isfinite(mean_loss):
                    raise StageError(
                        "LossNotFinite",
                        f"The loss was {mean_loss} around step {step}.",
                        "Check the labels and intensities of the cases; set train.precision to bf16 or fp32.",
                        got=str(mean_loss),
                        allowed="a finite number",
                    )
                pseudo = auc = accuracy = None
                if me.rank == 0 and (step // point_every % PSEUDO_DICE_EVERY == 0 or step == budget.total):
                    if isinstance(validation_cases, ClassCases):
                        auc, accuracy = class_loss.watched_scores(
                            network, validation_cases, plan.patch, strategy, device
                        )
                    else:
                        whole = range(sampling.batch)
                        unseen = batches(validation_cases, "torch", step, whole, augment=False)
                        pseudo = _pseudo_dice(network, unseen, strategy)
                curve.append(
                    CurvePoint(
                        step=step,
                        seconds=round(clock.total, 3),
                        loss=mean_loss,
                        learning_rate=schedule.at(step - 1, budget.total),
                        pseudo_dice=pseudo,
                        auc=auc,
                        accuracy=accuracy,
                    )
                )
                score = "" if pseudo is None else f", Dice {pseudo:.3f}"
                score += "" if auc is None else f", AUC {auc:.3f}"
                progress.update(step, f"loss {mean_loss:.3f}{score}")
                clock.start()
            else:
                progress.update(step)
            if stop.asked or time.monotonic() - last_save > 60 * task.checkpoint_minutes:
                clock.collect()
                save(step)
                last_save = time.monotonic()
                stop.obey()
                clock.start()
        clock.collect()
    save(step)
    if me.ranks > 1:
        dist.barrier()
        dist.destroy_process_group()
    if me.rank != 0:
        return None

    # The final checkpoint is the model, not the best on the validation fold.
    precision = strategy.precision
    weights_sha256 = publish(stage.artefacts, task, plan, network, steps=step, precision=precision)
    measured = np.array(clock.measured)  # empty where all steps were warm-up: then there is no rate
    patches_per_second = sampling.batch / float(measured.mean()) if len(measured) else 0.0
    patch_voxels, median_voxels = (float(np.prod(x)) for x in (plan.patch, plan.median_shape_zyx))
    p50, p95 = np.quantile(measured, [0.5, 0.95]) if len(measured) else (0.0, 0.0)
    return stage.result(
        TrainResult,
        fold=task.fold,
        strategy=task.strategy,
        precision=precision,
        loader=strategy.loader,
        batch=sampling.batch,
        steps=step,
        resumed_from_step=first_step,
        train_seconds=round(float(measured.sum()), 3),
        patches_per_second=round(patches_per_second, 3),
        volumes_per_second=round(patches_per_second * patch_voxels / median_voxels, 3),
        step_latency=Latency(p50_ms=round(1000 * float(p50), 3), p95_ms=round(1000 * float(p95), 3)),
        gpu_busy_percent=busy.percent,
        curve=curve,
        model_prefix=task.output_prefix,
        weights_sha256=weights_sha256,
        parameters=models.parameter_count(network),
        host=host.describe(
            _PACKAGES[strategy.loader],
            gpus=me.ranks if device.type == "cuda" else 0,
            fallbacks=strategy.fallbacks + ([f"No CUDA graph: {why}"] if (why := take.graph_failure) else []),
        ),
    )


_PACKAGES = {
    "torch": ("torch", "monai", "numpy"),
    "dali": ("torch", "monai", "numpy", "nvidia-dali-cuda130"),
    "triton": ("torch", "triton", "monai", "numpy"),
}


class _StopAsked:
    """SIGTERM: somebody wants the machine back. The step ends, a checkpoint is written, the training fails.

    SageMaker gives 120 seconds for it. Where it asked for the stop itself, it calls the job Stopped and shows
    no reason; where the host is going down, the job has failed, and output/failure says why.

    Ranks but the first go on until it is gone: they would leave it waiting for them in the middle of a step.
    """

    def __init__(self, rank: int) -> None:
        self.asked = False
        self._rank = rank
        self._before = signal.signal(signal.SIGTERM, self._ask)

    def __enter__(self) -> _StopAsked:
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _ask(self, *_: object) -> None:
        self.asked = self._rank == 0

    def obey(self) -> None:
        if self.asked:
            raise launch.stopped()


def _device(task: TrainTask, local_rank: int) -> torch.device:
    if not task.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise StageError(
            "GpuMissing",
            f"The plan trains on {task.gpus} GPUs; PyTorch sees none here.",
            "Check the driver with `voxelburst doctor`, or plan again on this machine.",
            got="0 GPUs",
            allowed=f"{task.gpus} GPUs",
        )
    return torch.device("cuda", local_rank)


def _cases_of(
    cases: list[TrainCase],
    classes: list[str] | None,
    file_of: Callable[[str, str], Path],
    masked: list[bool],
) -> Cases:
    """Of a classification where the dataset has classes; plan has checked that each case has one of them."""
    if classes is None:
        return Cases([case.case_id for case in cases], file_of)
    indices = {case.case_id: classes.index(str(case.class_name)) for case in cases}
    return ClassCases(indices, file_of, masked)


def _file_of(stage: Stage, cases: list[TrainCase]) -> Callable[[str, str], Path]:
    """A path to a file of a case's arrays: in SageMaker's channel `arrays` where there is one."""
    prefixes = {case.case_id: case.arrays_prefix for case in cases}

    def file_of(case_id: str, name: str) -> Path:
        prefix = prefixes[case_id]
        if paths.in_training_job():
            # The channel's manifest cuts "preprocess/" off: <hash>/image.npy remains.
            return paths.channel("arrays") / prefix.rstrip("/").rsplit("/", 1)[-1] / name
        return stage.artefacts.local(f"{prefix}{name}")

    return file_of


def _agreed(steps: int | None, device: torch.device) -> int | None:
    """The first rank's number of steps: clocks differ between ranks, the schedule must not."""
    (value,) = of_first_rank([-1 if steps is None else steps], device)
    return None if value < 0 else int(value)


def _mean_over_ranks(value: torch.Tensor) -> float:
    if dist.is_initialized():
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return float(value.item())


@torch.no_grad()
def _pseudo_dice(
    network: nn.Module,
    source: Iterator[Batch],
    strategy: Strategy,
) -> float | None:
    """Hard Dice pooled over some validation patches, mean of the classes seen: a monitor, not a score."""
    network.eval()
    total: Any = 0
    for _ in range(PSEUDO_DICE_BATCHES):
        batch = next(source)
        with autocast(strategy, batch.image_ncdhw.device):
            logits_nkdhw = network(batch.image_ncdhw.contiguous(memory_format=strategy.layout))
        total = total + overlaps(logits_nkdhw.float(), batch.label_ndhw)
    network.train()
    seen = total[1] > 0
    return float((total[0][seen] / total[1][seen]).mean()) if seen.any() else None
