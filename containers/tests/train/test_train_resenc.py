"""The residual-encoder U-Net trains as the plain one does."""

from __future__ import annotations

from pathlib import Path

import torch
from small_dataset import SmallDataset

from voxelburst import model_folder, models
from voxelburst.stage import execute
from voxelburst.stages import preprocess, train

NETWORK = {
    "model": "resenc-unet",
    "inputChannels": 1,
    "outputClasses": 3,
    "features": [4, 8, 8],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 3]] * 3,
    "deepSupervisionWeights": [0.667, 0.333],
}


def test_trains_with_its_coarse_heads_and_publishes_its_weights(tmp_path: Path) -> None:
    dataset = SmallDataset(tmp_path, network=NETWORK, budget={"steps": 40})
    assert execute("preprocess", preprocess.run, dataset.preprocess_task()) == 0
    assert execute("train", train.run, dataset.train_task("amp")) == 0
    result = dataset.result("train-fold0-amp")
    losses = [point["loss"] for point in result["curve"]]
    assert losses[-1] < losses[0] - 0.2
    folder = dataset.store.local(result["modelPrefix"])
    network = models.build(model_folder.read(folder).network)
    models.load_weights(network, folder / "weights.pt")
    assert network.eval()(torch.zeros(1, 1, 16, 16, 16)).isfinite().all()
