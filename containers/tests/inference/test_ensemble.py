"""Models of several folds predict together by the mean of their logits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from voxelburst.contract import EngineFile, InferSettings, Label, ModelFolder, Network, Normalisation
from voxelburst.engines import Site, pytorch
from voxelburst.engines.ensemble import Ensemble, check_members
from voxelburst.errors import StageError
from voxelburst.models import build, save_weights

PATCH = (8, 8, 8)
NETWORK = Network(
    model="unet3d",
    input_channels=1,
    output_classes=2,
    features=[4, 8],
    strides=[(1, 1, 1), (2, 2, 2)],
    kernels=[(3, 3, 3)] * 2,
    deep_supervision_weights=[1.0],
)
MODEL = ModelFolder(
    name="m",
    version="0",
    run_id="r",
    fold="fold0",
    strategy="fp32",
    channels=["MRI"],
    labels=[Label(value=0, name="background"), Label(value=1, name="organ")],
    network=NETWORK,
    normalisation=[Normalisation(scheme="none")],
    transpose=(0, 1, 2),
    spacing_mm_zyx=(1.0, 1.0, 1.0),
    patch=PATCH,
    infer=InferSettings(overlap=0.5, mirroring=False),
    engines=[],
    files={},
)


def member(folder: Path, seed: int) -> pytorch.TorchEngine:
    folder.mkdir()
    torch.manual_seed(seed)
    save_weights(build(NETWORK), folder / "weights.pt")
    site = Site(folder=folder, network=NETWORK, patch=PATCH)
    return pytorch.TorchEngine(site, EngineFile(engine="torch", precision="fp32"))


def test_gives_the_mean_of_the_members_logits(tmp_path: Path) -> None:
    members = [member(tmp_path / str(seed), seed) for seed in range(3)]
    windows = torch.randn(1, 1, *PATCH, device=members[0].device)
    expected = torch.stack([one(windows) for one in members]).mean(0)
    found = Ensemble(members)(windows)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, members[0](windows), atol=1e-3)


def test_models_of_different_plans_are_refused_by_what_differs() -> None:
    check_members([MODEL, dataclasses.replace(MODEL, fold="fold1")])
    with pytest.raises(StageError, match="another patch") as refused:
        check_members([MODEL, dataclasses.replace(MODEL, patch=(16, 8, 8))])
    assert refused.value.code == "EnsembleDiffers"
