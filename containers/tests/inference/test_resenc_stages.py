"""The residual-encoder U-Net goes through compile and infer as the plain one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained_dataset import TrainedDataset, engine_prefix, run_stage

from voxelburst import model_folder

NETWORK = {
    "model": "resenc-unet",
    "inputChannels": 1,
    "outputClasses": 3,
    "features": [6, 12],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "kernels": [[3, 3, 3]] * 2,
    "deepSupervisionWeights": [1.0],
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TrainedDataset:
    return TrainedDataset(tmp_path_factory.mktemp("resenc"), network=NETWORK)


def test_is_compiled_and_predicts_what_it_learnt(dataset: TrainedDataset) -> None:
    assert run_stage("compile", dataset.compile_task("onnxruntime")) == 0
    result = dataset.result("compile-fold0-fp32-onnxruntime")
    assert result["parity"]["passed"] and result["parity"]["meanDiceFp32"] > 0.6
    folder: Path = dataset.store.local(engine_prefix("onnxruntime"))
    assert model_folder.read(folder).network.model == "resenc-unet"
    assert run_stage("infer", dataset.infer_task("onnxruntime")) == 0
    scores_key = dataset.result("infer-fold0-fp32-onnxruntime")["scoresKey"]
    scores = list(dataset.store.read_lines(scores_key))
    assert scores and all(score["meanDice"] > 0.5 for score in scores)
