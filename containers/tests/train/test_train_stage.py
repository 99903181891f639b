"""The train stage: every strategy, what it publishes, and exact resume after a real kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_dataset import SmallDataset, digest

from voxelburst import model_folder, models
from voxelburst.stage import execute
from voxelburst.stages import preprocess, train

SOURCES = Path(train.__file__).parents[2]


def trained(dataset: SmallDataset, strategy: str = "fp32", **task: Any) -> dict[str, Any]:
    """The result of a training in this process."""
    assert execute("train", train.run, dataset.train_task(strategy, **task)) == 0
    return dataset.result(f"train-fold0-{strategy}")


def process(task_uri: str, **environment: str) -> subprocess.Popen:
    """A training in a process of its own, as the state machine starts it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAGEMAKER")}
    return subprocess.Popen(
        [sys.executable, "-m", "voxelburst", "train", "--task", task_uri],
        env={**inherited, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1", **environment},
        # As many threads as this process trains with: another number sums in another order.
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SmallDataset]:
    def dataset(**plan: Any) -> SmallDataset:
        made = SmallDataset(tmp_path / digest(json.dumps(plan))[:8], **plan)
        assert execute("preprocess", preprocess.run, made.preprocess_task()) == 0
        return made

    return dataset


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxelburst.host.cpus", lambda: 1)


def test_learns_what_bright_and_dark_cubes_are(make: Callable[..., SmallDataset]) -> None:
    result = trained(make(budget={"steps": 120}), "amp")
    losses = [point["loss"] for point in result["curve"]]
    assert 0.5 < losses[0] < 2.5
    assert losses[-1] < -0.6
    assert result["curve"][-1]["pseudoDice"] > 0.8
    assert result["curve"][-1]["step"] == result["steps"] == 120
    rates = [point["learningRate"] for point in result["curve"]]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.001 * 0.2
    assert result["patchesPerSecond"] > 0
    assert result["stepLatency"]["p50Ms"] <= result["stepLatency"]["p95Ms"]
    # 16^3 voxels a patch, 19 x 20 x 22 of the median case
    assert result["volumesPerSecond"] == pytest.approx(result["patchesPerSecond"] * 4096 / 8360, rel=1e-3)


@pytest.mark.parametrize(
    ("strategy", "loader"), [("fp32", "torch"), ("amp", "torch"), ("dali", "dali"), ("fused", "dali")]
)
def test_every_strategy_publishes_a_model_folder_that_holds_together(
    make: Callable[..., SmallDataset], strategy: str, loader: str
) -> None:
    dataset = make()
    result = trained(dataset, strategy)
    assert result["loader"] == loader
    assert result["strategy"] == strategy
    assert result["resumedFromStep"] == 0
    folder = dataset.store.local(result["modelPrefix"])
    document = model_folder.read(folder)
    assert set(document.files) == {"weights.pt", "plan.json", "LICENSE", "MODEL_CARD.md"}
    assert document.files["weights.pt"] == result["weightsSha256"]
    assert "CC0-1.0" in (folder / "LICENSE").read_text()
    assert json.loads((folder / "plan.json").read_text()) == dataset.plan
    network = models.build(document.network)
    models.load_weights(network, folder / "weights.pt")
    assert result["parameters"] == models.parameter_count(network)
    assert network.eval()(torch.zeros(1, 1, 16, 16, 16)).isfinite().all()


def test_strategies_differ_in_speed_and_not_in_what_they_compute(make: Callable[..., SmallDataset]) -> None:
    dataset = make(precision="fp32")
    weights = {}
    for strategy in ("fp32", "amp", "fused"):
        prefix = trained(dataset, strategy)["modelPrefix"]
        weights[strategy] = torch.load(dataset.store.local(f"{prefix}weights.pt"), weights_only=True)
    for strategy in ("amp", "fused"):
        for name, value in weights["fp32"].items():
            torch.testing.assert_close(weights[strategy][name], value, rtol=5e-3, atol=5e-4, msg=name)


def test_the_same_training_gives_the_same_weights_and_another_seed_others(
    make: Callable[..., SmallDataset],
) -> None:
    first = trained(make(), "fp32")["weightsSha256"]
    again = make()
    for name in again.store.names(f"train/{digest('fp32')}/checkpoints/"):
        (again.store.local(f"train/{digest('fp32')}/checkpoints/") / name).unlink()
    assert trained(again, "fp32")["weightsSha256"] == first
    assert trained(make(seed=8), "fp32")["weightsSha256"] != first


def sagemaker_folder(base: Path, task: str) -> Path:
    """/opt/ml of a training job on one host, as SageMaker makes it."""
    config = base / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({"task": task}))
    (config / "resourceconfig.json").write_text(
        json.dumps({"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"})
    )
    return base


def link_arrays(base: Path, dataset: SmallDataset) -> None:
    """The channel of the arrays."""
    channel = base / "input" / "data" / "arrays"
    channel.mkdir(parents=True)
    for case_id in dataset.ids:
        prefix = dataset.arrays_prefix(case_id)
        (channel / Path(prefix).name).symlink_to(dataset.store.local(prefix))


def wait_for_a_checkpoint(dataset: SmallDataset, strategy: str, running: subprocess.Popen) -> None:
    folder = dataset.store.local(f"train/{digest(strategy)}/checkpoints/")
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint-1.pt").exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("strategy", ["fp32", "fused"], ids=["torch loader", "dali loader"])
def test_a_training_killed_and_resumed_has_an_undisturbed_ones_weights_bit_for_bit(
    make: Callable[..., SmallDataset], strategy: str
) -> None:
    steps = 200
    undisturbed = trained(make(budget={"steps": steps}), strategy)
    dataset = make(budget={"steps": steps}, notes=["killed"])
    # A checkpoint every few milliseconds: whichever step it dies in, one is not far behind.
    task = dataset.train_task(strategy, checkpointMinutes=1e-4)
    killed = process(task)
    wait_for_a_checkpoint(dataset, strategy, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not dataset.store.exists(f"runs/{dataset.plan['runId']}/results/train-fold0-{strategy}.json")
    resumed = trained(dataset, strategy)
    assert 0 < resumed["resumedFromStep"] < steps
    assert resumed["steps"] == steps
    assert resumed["weightsSha256"] == undisturbed["weightsSha256"]


def test_sigterm_leaves_a_checkpoint_of_the_step_it_came_in_and_says_so(
    make: Callable[..., SmallDataset], tmp_path: Path
) -> None:
    dataset = make(budget={"steps": 100_000})
    task = dataset.train_task("fp32", checkpointMinutes=60)
    base = sagemaker_folder(tmp_path / "opt-ml", task)
    link_arrays(base, dataset)
    running = process(task, SAGEMAKER_BASE_DIR=str(base))
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line).get("done", 0) >= 3:
            break
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, errors
    state = torch.load(base / "checkpoints" / "checkpoint-0.pt", weights_only=True)
    assert state["step"] >= 3
    assert state["totalSteps"] == 100_000
    failure = (base / "output" / "failure").read_text()
    assert failure.startswith("TrainingStopped: The training was stopped by SIGTERM")
    assert "Resume the run" in failure
    document = dataset.store.read_json(f"runs/{dataset.plan['runId']}/errors/train-fold0-fp32.json")
    assert document["code"] == "TrainingStopped"


def test_sigterm_stops_the_ranks_of_a_distributed_training_with_the_same_words(
    make: Callable[..., SmallDataset],
) -> None:
    dataset = make(budget={"steps": 100_000})
    running = process(dataset.train_task("ddp", checkpointMinutes=60), VOXELBURST_DDP_PROCESSES="2")
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("{") and json.loads(line).get("done", 0) >= 3:
            break
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM, errors
    document = dataset.store.read_json(f"runs/{dataset.plan['runId']}/errors/train-fold0-ddp.json")
    assert document["code"] == "TrainingStopped"
    assert dataset.store.exists(f"train/{digest('ddp')}/checkpoints/checkpoint-0.pt")


def test_a_training_in_minutes_decides_its_steps_once(make: Callable[..., SmallDataset]) -> None:
    dataset = make(budget={"minutes": 0.12})
    result = trained(dataset, "fp32")
    state = torch.load(
        dataset.store.local(f"train/{digest('fp32')}/checkpoints/checkpoint-0.pt"), weights_only=True
    )
    assert state["totalSteps"] == state["step"] == result["steps"] > 12
    # Started again it finds itself finished, whatever the clock says now.
    again = trained(dataset, "fp32")
    assert again["resumedFromStep"] == again["steps"] == result["steps"]
    assert again["weightsSha256"] == result["weightsSha256"]
    assert again["patchesPerSecond"] == result["patchesPerSecond"]


@pytest.mark.parametrize("batch_dice", [False, True])
def test_two_gloo_processes_train_what_one_process_does(
    make: Callable[..., SmallDataset], batch_dice: bool
) -> None:
    # A batch of three: the ranks have one and two samples. In fp32: where the processor has bf16 arithmetic,
    # three samples at once and two and one round differently, by more than sums in another order do.
    plan: dict[str, Any] = {"batch": 3, "budget": {"steps": 6}, "batchDice": batch_dice, "precision": "fp32"}
    alone = trained(dataset := make(**plan), "ddp")
    one = torch.load(dataset.store.local(f"{alone['modelPrefix']}weights.pt"), weights_only=True)
    dataset = make(**plan, notes=["two"])
    together = process(dataset.train_task("ddp"), VOXELBURST_DDP_PROCESSES="2")
    output, errors = together.communicate(timeout=300)
    assert together.returncode == 0, errors[-3000:]
    result = dataset.result("train-fold0-ddp")
    assert result["steps"] == 6
    assert any("gloo" in said for said in result["host"]["fallbacks"])
    # Only the first rank speaks of progress.
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [e["done"] for e in events if e.get("type") == "progress"][-1] == 6
    two = torch.load(dataset.store.local(f"{result['modelPrefix']}weights.pt"), weights_only=True)
    for name, value in one.items():
        # The gradients are the same sums in another order.
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
    for point, expected in zip(result["curve"], alone["curve"], strict=True):
        assert point["loss"] == pytest.approx(expected["loss"], abs=1e-4)


def test_a_ranks_error_is_the_trainings_error(make: Callable[..., SmallDataset]) -> None:
    dataset = make()
    dataset.store.local(f"{dataset.arrays_prefix('case-1')}label.npy").unlink()
    failed = process(dataset.train_task("ddp"), VOXELBURST_DDP_PROCESSES="2")
    _, errors = failed.communicate(timeout=300)
    assert failed.returncode == 1, errors[-3000:]
    document = dataset.store.read_json(f"runs/{dataset.plan['runId']}/errors/train-fold0-ddp.json")
    assert document["code"] == "ArraysMissing"
    assert document["caseId"] == "case-1"


def test_under_sagemaker_it_keeps_to_its_directories(
    make: Callable[..., SmallDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make()
    task = dataset.train_task("fp32")
    base = sagemaker_folder(tmp_path / "opt-ml", task)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    # Without the channel: the failure file says why, in a sentence.
    assert execute("train", train.run, task) == 1
    failure = (base / "output" / "failure").read_text()
    assert failure.startswith("ArraysMissing: Case case-0 has no image.npy")
    assert "Traceback" not in failure
    link_arrays(base, dataset)
    assert execute("train", train.run, task) == 0
    assert model_folder.read(base / "model").files["weights.pt"]
    assert (base / "checkpoints" / "checkpoint-0.pt").exists()
    result = dataset.result("train-fold0-fp32")
    assert not dataset.store.names(f"{result['modelPrefix']}checkpoints/")
    assert model_folder.read(dataset.store.local(result["modelPrefix"])).name == "demo-fold0-fp32"


def test_refuses_a_checkpoint_of_another_training(make: Callable[..., SmallDataset]) -> None:
    dataset = make()
    trained(dataset, "fp32")
    assert execute("train", train.run, dataset.train_task("fp32", inputHash=digest("another"))) == 1
    document = dataset.store.read_json(f"runs/{dataset.plan['runId']}/errors/train-fold0-fp32.json")
    assert document["code"] == "CheckpointOfAnotherTraining"


def test_stops_when_the_loss_is_no_number(make: Callable[..., SmallDataset]) -> None:
    dataset = make(budget={"steps": 40})
    for case_id in dataset.ids:
        path = dataset.store.local(f"{dataset.arrays_prefix(case_id)}image.npy")
        image = np.load(path)
        image[0, 9, 10, 11] = np.nan
        np.save(path, image)
    assert execute("train", train.run, dataset.train_task("fp32")) == 1
    document = dataset.store.read_json(f"runs/{dataset.plan['runId']}/errors/train-fold0-fp32.json")
    assert document["code"] == "LossNotFinite"


def test_refuses_gpus_that_are_not_there(
    make: Callable[..., SmallDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    dataset = make()
    assert execute("train", train.run, dataset.train_task("fp32", gpus=1)) == 1
    document = dataset.store.read_json(f"runs/{dataset.plan['runId']}/errors/train-fold0-fp32.json")
    assert (document["code"], document["got"]) == ("GpuMissing", "0 GPUs")
