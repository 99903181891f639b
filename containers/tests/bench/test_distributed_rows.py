"""ddp's rows: two processes of gloo take the same steps, and what it costs them is said beside one's row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from voxelburst.bench import main
from voxelburst.bench.command import reference_network
from voxelburst.bench.distributed_rows import add_scaling, distributed_row
from voxelburst.bench.training_rows import Measuring, Work
from voxelburst.errors import StageError
from voxelburst.loaders import Cases


def test_two_processes_have_a_row_beside_one(capfd: pytest.CaptureFixture[str]) -> None:
    sizes = "--size 24 --patch 16 --width 4 --batch 2 --cases 2 --warm-up 2 --steps 3 --seconds 0"
    arguments = [*sizes.split(), "--strategies", "ddp", "--gpus", "1,2", "--augmentations", "mlperf"]
    assert main(arguments) == 0
    document = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert document["failed"] == []
    one, two = document["rows"]
    assert [(row["strategy"], row["gpus"], row["batch"]) for row in (one, two)] == [
        ("ddp", 1, 2),
        ("ddp", 2, 2),
    ]
    assert two["patchesPerSecond"] == pytest.approx(2 * two["patchesPerSecondPerGpu"], rel=1e-3)
    assert two["scalingEfficiency"] == pytest.approx(
        two["patchesPerSecondPerGpu"] / one["patchesPerSecond"], rel=1e-3
    )
    assert two["exposedMs"] == pytest.approx(max(0, two["p50Ms"] - two["aloneP50Ms"]), abs=1)
    assert two["allReduceMs"] > 0
    assert 0 <= two["overlapShare"] <= 1
    assert not {"scalingEfficiency", "allReduceMs"} & one.keys()
    assert any("gloo" in said for said in two["fallbacks"])


def work_on(device: torch.device, folders: list[Path]) -> Work:
    return Work(
        cases=Cases([], lambda case_id, name: pytest.fail("nothing is read here")),
        folders=folders,
        network=reference_network((16, 16, 16), 4),
        patch=(16, 16, 16),
        batch=1,
        precision="bf16",
        masked=[False],
        batch_dice=False,
        dummy2d=False,
        median_shape=None,
        device=device,
        matrix_peak={},
    )


def test_a_rank_that_fails_fails_the_row_with_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"Case 0000 has no image\.npy") as error:
        distributed_row(work_on(torch.device("cpu"), [tmp_path / "missing-case"]), "mlperf", Measuring(), 2)
    assert error.value.code == "ArraysMissing"


def row(strategy: str, speed: float, **more: Any) -> dict[str, Any]:
    same = {"kind": "training", "augmentation": "mlperf", "batch": 8, "precision": "bf16"}
    return {**same, "strategy": strategy, "patchesPerSecond": speed, **more}


def test_scaling_is_against_one_device_of_the_same_run() -> None:
    eight = row("ddp", 560.0, gpus=8)
    add_scaling([row("amp", 10.0), row("fused", 75.0), row("fused", 50.0, without="graph"), eight])
    assert eight["scalingEfficiency"] == pytest.approx(560 / 8 / 75, rel=1e-4)
    two = row("ddp", 148.0, gpus=2)
    add_scaling([row("fused", 75.0), row("ddp", 74.0, gpus=1), two])
    assert two["scalingEfficiency"] == pytest.approx(1.0)
    lonely = row("ddp", 148.0, gpus=2)
    add_scaling([row("fused", 75.0, augmentation="recipe"), row("fused", 75.0, batch=4), lonely])
    assert "scalingEfficiency" not in lonely


def test_more_gpus_than_there_are_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(StageError, match="there are 1") as error:
        distributed_row(work_on(torch.device("cuda", 0), []), "mlperf", Measuring(), 2)
    assert error.value.code == "GpuMissing"
