"""train: arrays to weights. One script, the same on a CPU, a GPU, or the GPUs of several hosts.

Axes: n sample, c channel, k class, d h w space.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from .. import contract, host, model_card, model_folder, models, paths
from ..contract import CurvePoint, EngineFile, Latency, ModelFolder, Plan, TrainCase, TrainResult, TrainTask
from ..errors import StageError, from_exception
from ..loaders import Cases, LoaderOptions, Sampling, open_loader
from ..loaders.torch_loader import workers_of
from ..models.zoo import supervision_weights
from ..stage import Stage
from ..training import launch
from ..training.budget import StepBudget
from ..training.checkpoints import Checkpoints
from ..training.gpu_busy import GpuBusy
from ..training.loss import overlaps, segmentation_loss

# nnU-Net v2's default trainer (recipe.md, 4).
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, CLIP_NORM = 0.01, 0.99, 3e-5, 12.0
CURVE_POINTS = 100
# Validation patches of the pseudo Dice, at so many of the curve's points.
PSEUDO_DICE_EVERY, PSEUDO_DICE_BATCHES = 10, 2


def run(task: TrainTask, stage: Stage) -> TrainResult | None:
    """Trains one fold with one strategy and publishes weights and model.json below the task's output prefix.

    Returns:
        None in the process that only started the ranks, and in every rank but the first.

    Raises:
        StageError: ArraysMissing, GpuMissing, BatchTooSmall, LossNotFinite, CheckpointOfAnotherTraining and
            what the models raise.
    """
    try:
        processes = launch.processes_of(task, os.environ)
        here = launch.launch_of(processes, launch.resource_config(), os.environ)
        if here.nodes * here.processes > 1 and not launch.under_torchrun():
            launch.launch_ranks(here, _task_arguments())
            return None
        return _train(task, stage)
    except Exception as cause:
        if paths.in_training_job():
            error = from_exception(cause)
            paths.write_failure(f"{error.code}: {error.message} What to do: {error.remedy}")
        raise


def _train(task: TrainTask, stage: Stage) -> TrainResult | None:
    # Where this process stands among the ranks, and on what it computes.
    began = time.monotonic()
    rank, ranks, local_rank = (int(os.environ.get(n, d)) for n, d in _RANK_VARIABLES)
    if task.gpus and not torch.cuda.is_available():
        raise StageError(
            "GpuMissing",
            f"The plan trains on {task.gpus} GPUs; PyTorch sees none here.",
            "Check the driver with `voxelburst doctor`, or plan again on this machine.",
            got="0 GPUs",
            allowed=f"{task.gpus} GPUs",
        )
    device = torch.device("cuda", local_rank) if task.gpus else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, host.cpus() // ranks))
    if ranks > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    # The strategy: what it adds to the one before it.
    plan = stage.plan()
    fallbacks: list[str] = []
    precision = "fp32" if task.strategy == "fp32" else plan.precision
    loader = "dali" if task.strategy in ("dali", "fused", "ddp") else "torch"
    fused = task.strategy in ("fused", "ddp") and device.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if loader == "dali" and device.type == "cpu":
        fallbacks.append("There is no GPU: DALI's operators ran on the CPU.")
    if task.strategy in ("fused", "ddp") and not fused:
        fallbacks.append("There is no GPU: the norm and activation were PyTorch's own, not the fused kernel.")

    # Data.
    cases = stage.cases(TrainCase)
    train_cases, validation_cases = (
        Cases([c.case_id for c in cases if c.part == part], _file_of(stage, cases))
        for part in ("train", "validation")
    )
    sampling = Sampling.of(plan)
    if sampling.batch < ranks:
        raise StageError(
            "BatchTooSmall",
            f"The plan's batch of {sampling.batch} cannot be shared by {ranks} processes.",
            "Set plan.batch in the recipe to at least the number of GPUs.",
            field="plan.batch",
            got=str(sampling.batch),
            allowed=f"at least {ranks}",
        )
    positions = range(rank * sampling.batch // ranks, (rank + 1) * sampling.batch // ranks)
    share = len(positions) * ranks / sampling.batch

    # Network, optimizer, and the checkpoint to go on from.
    torch.manual_seed(plan.seed)
    network: Any = models.build(plan.network).to(device)
    if task.strategy in ("fused", "ddp"):
        network = network.to(memory_format=torch.channels_last_3d)
    if fused:
        from ..kernels import fuse

        fuse(network)
    optimizer = torch.optim.SGD(
        network.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True, fused=True
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    budget = StepBudget(plan.budget)
    checkpoints = Checkpoints(stage.artefacts, f"{task.output_prefix}checkpoints/")
    first_step, trained_seconds, curve, latencies = 0, 0.0, [], []
    state = checkpoints.newest(device)
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
        first_step, trained_seconds = state["step"], state["trainedSeconds"]
        curve = [contract.from_json(CurvePoint, point) for point in state["curve"]]
    step_network: Any = network
    if ranks > 1:
        step_network = nn.parallel.DistributedDataParallel(
            step_network, device_ids=[local_rank] if device.type == "cuda" else None, static_graph=True
        )
    if fused:
        step_network = torch.compile(step_network, dynamic=False)
    autocast_type = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def autocast() -> contextlib.AbstractContextManager[Any]:
        if autocast_type is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, autocast_type)

    def batches(of: Cases, step: int, *, augment: bool, which: range, with_: str) -> Iterator[Any]:
        options = LoaderOptions(
            first_step=step,
            positions=which,
            classes=plan.network.output_classes,
            masked=[bool(n.scheme == "zscore" and n.masked) for n in plan.normalisation],
            device=device,
            workers=workers_of(device, max(1, ranks)) if augment else 0,
            augment=augment,
        )
        return open_loader(with_)(of, sampling, options)

    def save(step: int) -> None:
        if rank == 0:
            checkpoints.save(
                step,
                {
                    "inputHash": task.input_hash,
                    "step": step,
                    "totalSteps": budget.total,
                    "trainedSeconds": trained_seconds,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "curve": [contract.to_json(point) for point in curve],
                },
            )

    # The loop. Nothing in it waits for the GPU but the points of the curve.
    level_weights = supervision_weights(plan.network)
    progress = stage.progress(budget.total or 0, "steps")
    progress.update(first_step, "resumed from its checkpoint" if first_step else None, skipped=True)
    source = batches(train_cases, first_step, augment=True, which=positions, with_=loader)
    loss_sum, loss_steps = torch.zeros((), device=device), 0
    last_save = time.monotonic()
    step, seconds_before = first_step, trained_seconds
    step_network.train()
    busy = GpuBusy(device)
    with busy:
        while budget.total is None or step < budget.total:
            step_began = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = budget.learning_rate(step, LEARNING_RATE)
            batch = next(source)
            image_ncdhw = batch.image_ncdhw
            if task.strategy in ("fused", "ddp"):
                image_ncdhw = image_ncdhw.contiguous(memory_format=torch.channels_last_3d)
            with autocast():
                logits = step_network(image_ncdhw)
            loss = segmentation_loss(
                logits if isinstance(logits, tuple) else (logits,),
                batch.label_ndhw,
                level_weights,
                batch_dice=plan.batch_dice,
                share=share,
            )
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            scaler.step(optimizer)
            scaler.update()
            loss_sum += loss.detach()
            loss_steps += 1
            if budget.total is None and device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.monotonic() - step_began
            step += 1
            trained_seconds += seconds
            latencies.append(seconds)
            if budget.total is None and budget.observe(step - 1, seconds, time.monotonic() - began):
                budget.total = _agreed(budget.total, device)
                progress.total = budget.total
            point_every = max(1, (budget.total or 10 * CURVE_POINTS) // CURVE_POINTS)
            if step % point_every == 0 or step == budget.total:
                mean_loss = _mean_over_ranks(loss_sum / loss_steps).item()
                if not np.isfinite(mean_loss):
                    raise StageError(
                        "LossNotFinite",
                        f"The loss was {mean_loss} around step {step}.",
                        "Check the labels and intensities of the cases; set train.precision to bf16 or fp32.",
                        got=str(mean_loss),
                        allowed="a finite number",
                    )
                loss_sum, loss_steps = torch.zeros((), device=device), 0
                pseudo = None
                if (step // point_every) % PSEUDO_DICE_EVERY == 0 or step == budget.total:
                    source_of_validation = batches(
                        validation_cases, step, augment=False, which=range(sampling.batch), with_="torch"
                    )
                    pseudo = _pseudo_dice(network, source_of_validation, autocast) if rank == 0 else None
                curve.append(
                    CurvePoint(
                        step=step,
                        seconds=round(trained_seconds, 3),
                        loss=mean_loss,
                        learning_rate=budget.learning_rate(step - 1, LEARNING_RATE),
                        pseudo_dice=pseudo,
                    )
                )
                progress.update(step, f"loss {mean_loss:.3f}" + (f", Dice {pseudo:.3f}" if pseudo else ""))
            elif budget.total is not None:
                progress.update(step)
            if time.monotonic() - last_save > 60 * task.checkpoint_minutes:
                save(step)
                last_save = time.monotonic()
        if device.type == "cuda":
            torch.cuda.synchronize()
    save(step)
    if ranks > 1:
        dist.barrier()
        dist.destroy_process_group()
    if rank != 0:
        return None

    # The final checkpoint is the model, not the best on the validation fold.
    weights_sha256 = _publish(task, stage, plan, network)
    measured = np.array(latencies[min(len(latencies) // 2, WARM_UP) :] or [0.0])
    patches_per_second = sampling.batch / float(measured.mean()) if measured.mean() > 0 else 0.0
    patch_voxels, median_voxels = (float(np.prod(x)) for x in (plan.patch, plan.median_shape_zyx))
    return stage.result(
        TrainResult,
        fold=task.fold,
        strategy=task.strategy,
        precision=precision,
        loader=loader,
        batch=sampling.batch,
        steps=step,
        resumed_from_step=first_step,
        train_seconds=round(trained_seconds - seconds_before, 3),
        patches_per_second=round(patches_per_second, 3),
        volumes_per_second=round(patches_per_second * patch_voxels / median_voxels, 3),
        step_latency=Latency(
            p50_ms=round(1000 * float(np.quantile(measured, 0.5)), 3),
            p95_ms=round(1000 * float(np.quantile(measured, 0.95)), 3),
        ),
        gpu_busy_percent=busy.percent,
        curve=curve,
        model_prefix=task.output_prefix,
        weights_sha256=weights_sha256,
        parameters=models.parameter_count(network),
        host=host.describe(
            _PACKAGES[loader], gpus=ranks if device.type == "cuda" else 0, fallbacks=fallbacks
        ),
    )


WARM_UP = 10  # steps that no rate is taken from
_RANK_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
_PACKAGES = {
    "torch": ("torch", "monai", "numpy"),
    "dali": ("torch", "monai", "numpy", "nvidia-dali-cuda130"),
}


def _task_arguments() -> list[str]:
    """Under SageMaker the ranks read the task from the hyperparameters, as this process did."""
    import sys

    return sys.argv[2:]


def _file_of(stage: Stage, cases: list[TrainCase]) -> Any:
    """A path to a file of a case's arrays: in SageMaker's channel `arrays` where there is one."""
    prefixes = {case.case_id: case.arrays_prefix for case in cases}

    def file_of(case_id: str, name: str) -> Path:
        prefix = prefixes[case_id]
        if paths.in_training_job():
            # The channel's manifest cuts "preprocess/" off: <hash>/image.npy remains.
            return paths.channel("arrays") / prefix.rstrip("/").rsplit("/", 1)[-1] / name
        return stage.artefacts.local(f"{prefix}{name}")

    return file_of


def _agreed(steps: int | None, device: torch.device) -> int:
    """The first rank's number of steps: clocks differ between ranks, the schedule must not."""
    value = torch.tensor([steps or 0], device=device)
    if dist.is_initialized():
        dist.broadcast(value, 0)
    return int(value.item())


def _mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    if dist.is_initialized():
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value


@torch.no_grad()
def _pseudo_dice(network: nn.Module, source: Iterator[Any], autocast: Any) -> float | None:
    """Hard Dice pooled over some validation patches, mean of the classes seen: a monitor, not a score."""
    network.eval()
    total: torch.Tensor | None = None
    for _ in range(PSEUDO_DICE_BATCHES):
        batch = next(source)
        with autocast():
            logits_nkdhw = network(batch.image_ncdhw)
        found = overlaps(logits_nkdhw.float(), batch.label_ndhw)
        total = found if total is None else total + found
    network.train()
    if total is None:
        return None
    seen = total[1] > 0
    return float((total[0][seen] / total[1][seen]).mean()) if seen.any() else None


def _publish(task: TrainTask, stage: Stage, plan: Plan, network: nn.Module) -> str:
    """Weights, model.json, licence: in the artefacts, and in SageMaker's model folder where there is one."""
    with tempfile.TemporaryDirectory(prefix="voxelburst-train-") as temporary:
        folder = Path(temporary)
        models.save_weights(network, folder / models.WEIGHTS_FILE)
        (folder / "plan.json").write_bytes(stage.artefacts.read(task.plan_key))
        (folder / "LICENSE").write_text(model_card.licence(plan))
        names = sorted(path.name for path in folder.iterdir())
        document = ModelFolder(
            name=f"{task.dataset}-{task.fold}-{task.strategy}",
            version=task.version,
            run_id=task.run_id,
            fold=task.fold,
            strategy=task.strategy,
            channels=plan.dataset.channels,
            labels=plan.dataset.labels,
            network=plan.network,
            normalisation=plan.normalisation,
            transpose=plan.transpose,
            spacing_mm_zyx=plan.spacing_mm_zyx,
            patch=plan.patch,
            infer=plan.infer,
            engines=[EngineFile(engine="torch", precision="fp32")],
            files=model_folder.checksums(folder, names),
        )
        if paths.in_training_job():
            shutil.copytree(folder, paths.model(), dirs_exist_ok=True)
            (paths.model() / model_folder.MODEL_FILE).write_text(_json(document))
        for name in names:
            stage.artefacts.upload(folder / name, f"{task.output_prefix}{name}")
        stage.artefacts.write(f"{task.output_prefix}{model_folder.MODEL_FILE}", _json(document))
        return document.files[models.WEIGHTS_FILE]


def _json(document: ModelFolder) -> str:
    import json

    return json.dumps(contract.to_json(document), indent=1) + "\n"
