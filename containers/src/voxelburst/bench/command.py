"""`python -m voxelburst bench`: after each row, one JSON document of the rows so far on stdout."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .. import contract, errors, host
from ..contract import Network, Plan, Zyx
from ..engines import NAMES as ENGINES
from ..engines import device as current_device
from ..loaders.torch_loader import workers_of
from ..progress import Progress
from ..training.strategy import NAMES
from .distributed_rows import RANK, add_scaling, distributed_row, rank_main
from .operations import matrix_teraflops, teraflop
from .peers import REQUIREMENTS, peer_rows
from .phantom_cases import CLASSES, phantom_cases
from .training_rows import AUGMENTATIONS, WITHOUT, Measuring, Work, cases_in, rounded, training_row
from .whole_commands import PREPROCESS, STEADY_TIMES, RunCases, predict_rows, preprocess_row

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "int8": torch.int8}
# performance.md's reference net, and nnU-Net's poolings of a patch that is smaller.
_FEATURES = (32, 64, 128, 256, 320, 320)
_PACKAGES = ("torch", "triton", "monai", "numpy", "nvidia-dali-cuda130", "onnxruntime", "tensorrt")

# Of a peer; MONAI has no command that preprocesses. The second and third of a run's cases alone: phantoms
# have no run, so no whole command of ours.
PEERS_DO = ("train", "preprocess", "predict")

Row = dict[str, Any]
Job = Callable[[], Row | list[Row]]


def main(arguments: list[str]) -> int:
    """Prints the document. A row that failed is named in it with its error: the others are worth having."""
    if arguments[:1] == [RANK]:
        return rank_main(Path(arguments[1]))
    options = _options(arguments)
    where = current_device()
    described = host.describe(_PACKAGES, gpus=1 if where.type == "cuda" else 0)
    rows: list[Row] = []
    failed: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="voxelburst-bench-") as temporary:
        work = _work(options, Path(temporary), where)
        forward, training = teraflop(work.network, work.patch)
        document = {
            "what": options.what or _what(options, work),
            "hardware": described.device,
            "cpus": described.cpus,
            "versions": described.versions,
            "teraflopForward": rounded(forward),
            "teraflopTraining": rounded(training),
            "matrixTeraflops": {name: rounded(value) for name, value in work.matrix_peak.items()},
            "rows": rows,
            "failed": failed,
        }
        run = None if options.preprocess_task is None else RunCases.of(options.preprocess_task)
        jobs = _jobs(options, work)
        if run and options.compare:
            jobs += _whole_commands(options, run, Path(temporary))
        for name in options.compare:
            jobs.append((f"peer {name}", lambda name=name: _peer(name, options, work, run)))  # type: ignore[misc]
        progress = Progress("train", "bench", None, len(jobs), "rows")
        for done, (name, job) in enumerate(jobs):
            progress.update(done, name)
            _attempt(name, job, rows, failed)
            add_scaling(rows)
            # Row by row: what is measured is kept, whatever happens to the next one.
            if done + 1 < len(jobs):
                print(json.dumps(document), flush=True)
            if options.out:
                Path(options.out).write_text(json.dumps(document, indent=1) + "\n")
        progress.update(len(jobs))
    print(json.dumps(document), flush=True)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m voxelburst bench", description="Times training strategies and engines, row by row."
    )
    names = lambda allowed: lambda text: _names(text, allowed)  # noqa: E731
    parser.add_argument("--strategies", type=names(NAMES), default=["fp32", "amp", "dali", "fused"])
    parser.add_argument(
        "--gpus",
        type=_counts,
        default=[],
        help="of ddp, such as 1,2,4,8; on a CPU processes; default: all GPUs",
    )
    parser.add_argument("--augmentations", type=names(tuple(AUGMENTATIONS)), default=["mlperf", "recipe"])
    parser.add_argument(
        "--without", type=names(tuple(WITHOUT)), default=[], help="rows of fused without these"
    )
    parser.add_argument(
        "--profile", action="store_true", help="of fused and of engines, on a GPU: where their time goes"
    )
    parser.add_argument("--engines", type=names(ENGINES), default=[])
    parser.add_argument(
        "--size", type=_shape, default=(192, 192, 192), help="of the phantoms, d,h,w or one edge"
    )
    parser.add_argument("--patch", type=_shape, default=(128, 128, 128))
    parser.add_argument("--cases", type=int, default=4, help="phantoms")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=32, help="features of the first stage")
    parser.add_argument("--precision", choices=("bf16", "fp16"), default="bf16")
    parser.add_argument("--arrays", help="JSON: {plan, folders: [a case's arrays each]}; instead of phantoms")
    parser.add_argument(
        "--preprocess-task", type=Path, help="file of a run's preprocess task: its cases instead of phantoms"
    )
    parser.add_argument("--compare", type=names(tuple(REQUIREMENTS)), default=[], help="peers to time too")
    parser.add_argument("--peers-home", type=Path, default=Path("peers"), help="where their environments are")
    parser.add_argument("--peers-do", type=names(PEERS_DO), default=list(PEERS_DO), help="what to compare")
    parser.add_argument("--peers-folder", help="an empty one, where nnunet's files stay; default: none stay")
    parser.add_argument("--warm-up", type=int, default=12)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=3.0, help="of measured steps at least")
    parser.add_argument("--limit-seconds", type=float, default=30.0, help="of warm-up, and of measured steps")
    parser.add_argument("--what", default="")
    parser.add_argument("--out", help="a file for the document")
    return parser.parse_args(arguments)


def _names(text: str, allowed: tuple[str, ...]) -> list[str]:
    wanted = [name for name in text.split(",") if name]
    for name in wanted:
        if name not in allowed:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
    return wanted


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers above 0")
    return counts


def _shape(text: str) -> Zyx:
    sizes = [int(part) for part in text.split(",")]
    d, h, w = sizes * 3 if len(sizes) == 1 else sizes
    return d, h, w


def _work(options: argparse.Namespace, temporary: Path, where: torch.device) -> Work:
    peaks = {
        name: matrix_teraflops(where, dtype)
        for name, dtype in _DTYPES.items()
        if where.type == "cuda" or name == "fp32"
    }
    if options.preprocess_task:
        run = RunCases.of(options.preprocess_task)
        return _dataset_work(run.plan, run.folders(), options.precision, where, peaks)
    if options.arrays:
        given = json.loads(Path(options.arrays).read_text())
        plan = contract.parse(Plan, json.loads(Path(given["plan"]).read_text()), "plan.json")
        return _dataset_work(plan, [Path(f) for f in given["folders"]], options.precision, where, peaks)
    cases = phantom_cases(temporary, options.cases, options.size)
    return Work(
        cases=cases,
        folders=[temporary / case_id for case_id in cases.ids],
        network=reference_network(options.patch, options.width),
        patch=options.patch,
        batch=options.batch,
        precision=options.precision,
        masked=[False],
        batch_dice=False,
        dummy2d=False,
        median_shape=options.size,
        device=where,
        matrix_peak=peaks,
    )


def _dataset_work(
    plan: Plan, arrays: list[Path], precision: str, where: torch.device, peaks: dict[str, float]
) -> Work:
    return Work(
        cases=cases_in(arrays),
        folders=arrays,
        network=plan.network,
        patch=plan.patch,
        batch=plan.batch,
        precision=precision,
        masked=[bool(n.masked) for n in plan.normalisation],
        batch_dice=plan.batch_dice,
        dummy2d=plan.dummy2d,
        median_shape=plan.median_shape_zyx,
        device=where,
        matrix_peak=peaks,
    )


def reference_network(patch: Zyx, width: int = 32) -> Network:
    """nnU-Net's plain U-Net of a patch, six stages at most, without deep supervision (performance.md)."""
    stages = 1
    while stages < len(_FEATURES) and min(patch) // 2**stages >= 4 and all(n % 2**stages == 0 for n in patch):
        stages += 1
    return Network(
        model="unet3d",
        input_channels=1,
        output_classes=CLASSES,
        features=[round(width * f / _FEATURES[0]) for f in _FEATURES[:stages]],
        strides=[(1, 1, 1), *[(2, 2, 2)] * (stages - 1)],
        kernels=[(3, 3, 3)] * stages,
        deep_supervision_weights=[1.0],
    )


def _jobs(options: argparse.Namespace, work: Work) -> list[tuple[str, Job]]:
    measuring = Measuring(
        warm_up=options.warm_up,
        steps=options.steps,
        seconds=options.seconds,
        limit_seconds=options.limit_seconds,
    )
    jobs: list[tuple[str, Job]] = []
    for augmentation in options.augmentations:
        for name in options.strategies:
            if name == "ddp":
                jobs += _distributed(options, work, augmentation, measuring)
                continue
            jobs.append(
                (
                    f"{name}, {augmentation} augmentation",
                    lambda name=name, augmentation=augmentation: training_row(
                        work, name, augmentation, measuring
                    ),  # type: ignore[misc]
                )
            )
    for without in options.without:
        jobs.append(
            (
                f"fused without {without}",
                lambda without=without: training_row(  # type: ignore[misc]
                    work, "fused", options.augmentations[0], measuring, without=without
                ),
            )
        )
    if options.profile and work.device.type == "cuda" and "fused" in options.strategies:
        from .profile import profile_row

        for augmentation in options.augmentations:
            jobs.append(
                (
                    f"profile of fused, {augmentation} augmentation",
                    lambda augmentation=augmentation: profile_row(work, "fused", augmentation),  # type: ignore[misc]
                )
            )
    if options.engines:
        from .engine_rows import engine_rows

        jobs += engine_rows(work, options.engines, measuring, profile=options.profile)
    return jobs


def _distributed(
    options: argparse.Namespace, work: Work, augmentation: str, measuring: Measuring
) -> list[tuple[str, Job]]:
    everything = torch.cuda.device_count() if work.device.type == "cuda" else 2
    return [
        (
            f"ddp x {count}, {augmentation} augmentation",
            lambda count=count: distributed_row(work, augmentation, measuring, count),  # type: ignore[misc]
        )
        for count in options.gpus or [everything]
    ]


def _whole_commands(options: argparse.Namespace, run: RunCases, temporary: Path) -> list[tuple[str, Job]]:
    """Ours of what a peer is timed at."""
    jobs: list[tuple[str, Job]] = []
    if "preprocess" in options.peers_do and "nnunet" in options.compare:
        jobs.append((PREPROCESS, lambda: preprocess_row(run, temporary / "preprocess")))
    if "predict" in options.peers_do:
        engine = options.engines[0] if options.engines else None
        jobs.append(("predict", lambda: predict_rows(run, temporary / "predict", engine)))
    return jobs


def _peer(name: str, options: argparse.Namespace, work: Work, run: RunCases | None) -> list[Row]:
    network = work.network
    request = {
        "does": options.peers_do,
        "folder": options.peers_folder,
        "device": work.device.type,
        "folders": [str(folder) for folder in work.folders],
        "channels": network.input_channels,
        "classes": network.output_classes,
        "features": network.features,
        "kernels": network.kernels,
        "strides": network.strides,
        "patch": work.patch,
        "batch": work.batch,
        "volume": work.median_shape or work.patch,
        "workers": max(1, workers_of(work.device)),
        "seconds": options.seconds,
        "warmUp": options.warm_up,
    }
    if run:
        request |= {
            "cases": {case_id: run.files(case_id) for case_id in run.labelled()},
            "channelNames": run.plan.dataset.channels,
            "predict": run.validation(),
            "steadyTimes": STEADY_TIMES,
        }
    options.peers_home.mkdir(parents=True, exist_ok=True)
    return peer_rows(options.peers_home, name, request, lambda said: print(said, file=sys.stderr, flush=True))


def _attempt(name: str, job: Job, rows: list[Row], failed: list[Row]) -> None:
    """The job's rows into `rows`, or what went wrong into `failed`."""
    try:
        made = job()
        rows += made if isinstance(made, list) else [made]
    except Exception as cause:
        traceback.print_exc(file=sys.stderr)
        error = errors.from_exception(cause)
        failed.append({"row": name, "code": error.code, "message": error.message, "remedy": error.remedy})


def _what(options: argparse.Namespace, work: Work) -> str:
    patch = "x".join(map(str, work.patch))
    if options.arrays or options.preprocess_task:
        return f"Training steps on {len(work.cases)} cases, patch {patch}, batch {work.batch}"
    size = "x".join(map(str, options.size))
    return (
        f"Training steps of a {len(work.network.features)}-stage U-Net on {len(work.cases)} phantoms of "
        f"{size}, patch {patch}, {work.network.input_channels} channel, batch {work.batch}"
    )
