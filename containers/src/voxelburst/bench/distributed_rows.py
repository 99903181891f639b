"""Rows of `ddp`: the same step on several devices of one host, a process each, and what it costs to share it.

Each device has the whole batch of one: work grows with the devices, and steps should take as long as alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from .. import contract
from ..contract import Network
from ..errors import StageError, from_exception
from ..training.launch import Launch, Rank, launch_ranks, leave_error
from ..training.network import network_for
from ..training.strategy import strategy_of
from .training_rows import Measuring, Work, cases_in, rounded, seconds_of, training_row

# Of the command line of a rank: the file of its request follows.
RANK = "--rank-of"
# DistributedDataParallel's default: gradients are summed in buckets of this size, each as soon as it is full.
_BUCKET_BYTES = 25 * 2**20
_SECONDS_OF_ALL_REDUCE = 1.0

Row = dict[str, Any]


def distributed_row(work: Work, augmentation: str, measuring: Measuring, processes: int) -> Row:
    """The row of `ddp` in so many processes, one a GPU; on the CPU they share its cores.

    Raises:
        StageError: GpuMissing; what a rank raised; TrainingRankFailed where it left nothing.
    """
    if work.device.type == "cuda" and processes > (there := torch.cuda.device_count()):
        raise StageError(
            "GpuMissing",
            f"ddp on {processes} GPUs was asked for, and there are {there}.",
            "Ask for fewer with --gpus.",
            field="--gpus",
            got=str(processes),
            allowed=f"at most {there}",
        )
    with tempfile.TemporaryDirectory(prefix="voxelburst-ranks-") as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "row.json")
        request.write_text(json.dumps(_request(work, augmentation, measuring, answer)))
        host = Launch(nodes=1, node_rank=0, processes=processes, main_address="127.0.0.1")
        launch_ranks(host, ["bench", RANK, str(request)])
        row: Row = json.loads(answer.read_text())
    return row


def add_scaling(rows: list[Row]) -> None:
    """Gives each row of several devices its speed a device as a share of one's: `ddp`'s, else `fused`'s."""
    for row in rows:
        alone = [
            one
            for name in ("ddp", "fused")
            for one in rows
            if one.get("strategy") == name
            and one["kind"] == "training"
            and one.get("gpus", 1) == 1
            and "without" not in one
            and all(one[same] == row.get(same) for same in ("augmentation", "batch", "precision"))
        ]
        if alone and row.get("gpus", 1) > 1:
            row["scalingEfficiency"] = rounded(
                row["patchesPerSecond"] / row["gpus"] / alone[0]["patchesPerSecond"]
            )


def rank_main(request: Path) -> int:
    """A rank of `distributed_row`; the first writes the row. What goes wrong is left for who started it."""
    try:
        given = json.loads(request.read_text())
        me = Rank.here()
        device = torch.device("cuda", me.local_rank) if given["device"] == "cuda" else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            row = _row(_work(given, device), given["augmentation"], Measuring(**given["measuring"]), me)
            if me.rank == 0:
                Path(given["answer"]).write_text(json.dumps(row))
        finally:
            dist.destroy_process_group()
    except Exception as cause:
        traceback.print_exc(file=sys.stderr)
        leave_error(from_exception(cause))
        return 1
    return 0


def _row(work: Work, augmentation: str, measuring: Measuring, me: Rank) -> Row:
    own = training_row(work, "ddp", augmentation, measuring, me=me)
    rows = _of_all(own, me)
    # Ranks take a step together: the last one's time is the step's.
    per_device = min(row["patchesPerSecond"] for row in rows)
    row = {
        **rows[0],
        "gpus": me.ranks,
        "patchesPerSecond": rounded(per_device * me.ranks),
        "patchesPerSecondPerGpu": per_device,
        "volumesPerSecond": _times(rows[0]["volumesPerSecond"], me.ranks),
        "residentPatchesPerSecond": _times(min(row["residentPatchesPerSecond"] for row in rows), me.ranks),
        "p50Ms": max(row["p50Ms"] for row in rows),
        "p95Ms": max(row["p95Ms"] for row in rows),
        "teraflopPerSecond": _times(rows[0]["teraflopPerSecond"], me.ranks),
        "gpuBusyPercent": _mean([row["gpuBusyPercent"] for row in rows]),
        "watts": _times(_mean([row["watts"] for row in rows]), me.ranks),
        "peakMemoryMiB": max(row["peakMemoryMiB"] for row in rows),
    }
    if me.ranks == 1:
        return row
    # Every device on its own at the same time: what is left to the difference is the sharing, not the host.
    alone = max(one["p50Ms"] for one in _of_all(training_row(work, "fused", augmentation, measuring), me))
    summed = max(_of_all(_all_reduce_ms(work, measuring), me))
    exposed = max(0.0, row["p50Ms"] - alone)
    return {
        **row,
        "aloneP50Ms": alone,
        "allReduceMs": rounded(summed),
        "exposedMs": rounded(exposed),
        "overlapShare": rounded(max(0.0, 1 - exposed / summed)),
    }


def _all_reduce_ms(work: Work, measuring: Measuring) -> float:
    """Milliseconds to sum a step's gradients over the ranks while nothing else runs, in DDP's buckets."""
    strategy = strategy_of("ddp", work.precision, work.device)
    network = network_for(work.network, strategy, work.device, seed=0)
    count = sum(parameter.numel() for parameter in network.parameters())
    buckets = torch.zeros(count, device=work.device).split(_BUCKET_BYTES // 4)

    def step() -> None:
        for sent in [dist.all_reduce(bucket, async_op=True) for bucket in buckets]:
            sent.wait()

    limit = measuring.limit_seconds
    seconds_of(step, work.device, 5, 0, limit)
    taken = seconds_of(step, work.device, measuring.steps, _SECONDS_OF_ALL_REDUCE, limit)
    return 1000 * float(np.median(taken))


def _of_all(value: Any, me: Rank) -> list[Any]:
    """Every rank's, in their order."""
    found: list[Any] = [None] * me.ranks
    dist.all_gather_object(found, value)
    return found


def _times(value: float | None, count: int) -> float | None:
    return None if value is None else rounded(value * count)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return rounded(math.fsum(known) / len(known)) if known else None


def _request(work: Work, augmentation: str, measuring: Measuring, answer: Path) -> dict[str, Any]:
    """What a rank is told, as JSON."""
    return {
        "answer": str(answer),
        "augmentation": augmentation,
        "measuring": dataclasses.asdict(measuring),
        "device": work.device.type,
        "network": contract.to_json(work.network),
        "work": {
            "folders": [str(folder) for folder in work.folders],
            "patch": work.patch,
            "batch": work.batch,
            "precision": work.precision,
            "masked": work.masked,
            "batch_dice": work.batch_dice,
            "dummy2d": work.dummy2d,
            "median_shape": work.median_shape,
            "matrix_peak": work.matrix_peak,
        },
    }


def _work(given: dict[str, Any], device: torch.device) -> Work:
    work = given["work"]
    folders = [Path(folder) for folder in work.pop("folders")]
    shape = work.pop("median_shape")
    return Work(
        **{**work, "patch": tuple(work["patch"])},
        folders=folders,
        cases=cases_in(folders),
        network=contract.from_json(Network, given["network"]),
        median_shape=None if shape is None else tuple(shape),
        device=device,
    )
