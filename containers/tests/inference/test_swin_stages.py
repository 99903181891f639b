"""Swin UNETR goes through train, compile and infer as the U-Nets do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trained_dataset import TrainedDataset, arrays_prefix, digest, engine_prefix, run_stage

from voxelburst import model_folder, models

NETWORK = {
    "model": "swin-unetr",
    "inputChannels": 1,
    "outputClasses": 3,
    "features": [12, 12, 24, 48, 96, 192],
    "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
    "kernels": [[3, 3, 3]] * 6,
    "deepSupervisionWeights": [1.0],
}
PATCH = [32, 32, 64]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TrainedDataset:
    fields = {"network": NETWORK, "patch": PATCH, "batch": 1, "optimizer": "adamw", "budget": {"steps": 3}}
    return TrainedDataset(tmp_path_factory.mktemp("swin"), steps=1, **fields)


def test_is_trained_by_the_stage(dataset: TrainedDataset) -> None:
    lines = [
        {"caseId": case_id, "part": part, "arraysPrefix": arrays_prefix(case_id)}
        for part, ids in (("train", ["case-a"]), ("validation", ["case-b"]))
        for case_id in ids
    ]
    options = {"fold": "fold0", "strategy": "fused", "gpus": 0, "checkpointMinutes": 1}
    task = dataset.task(
        "train-fold0-fused", lines, stage="train", outputPrefix=f"train/{digest('swin')}/", **options
    )
    assert run_stage("train", task) == 0
    result = dataset.result("train-fold0-fused")
    assert result["steps"] == 3 and result["curve"][-1]["pseudoDice"] is not None
    folder = dataset.store.local(result["modelPrefix"])
    network = models.build(model_folder.read(folder).network)
    before = [parameter.clone() for parameter in network.parameters()]
    models.load_weights(network, folder / "weights.pt")
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_is_compiled_with_the_logits_of_the_reference_and_predicts(dataset: TrainedDataset) -> None:
    assert run_stage("compile", dataset.compile_task("onnxruntime")) == 0
    parity = dataset.result("compile-fold0-fp32-onnxruntime")["parity"]
    assert parity["passed"] and parity["largestLogitDifference"] < 1e-3 and parity["argmaxAgreement"] > 0.999
    folder: Path = dataset.store.local(engine_prefix("onnxruntime"))
    # The masks of shifted windows are computed where it runs: of a large patch they are hundreds of MiB.
    weights, exported = ((folder / name).stat().st_size for name in ("weights.pt", "model.onnx"))
    assert exported < 2 * weights
    assert run_stage("infer", dataset.infer_task("onnxruntime")) == 0
    scores_key = dataset.result("infer-fold0-fp32-onnxruntime")["scoresKey"]
    scores = list(dataset.store.read_lines(scores_key))
    assert len(scores) == len(dataset.validation) and all(score["windows"] >= 1 for score in scores)
