"""Training and loading on a GPU; skipped by name where there is none."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from small_dataset import SmallDataset, digest

from voxelburst import model_folder
from voxelburst.bench.command import reference_network
from voxelburst.bench.training_rows import Work, batches_of, step_of
from voxelburst.loaders import Cases, LoaderOptions, Sampling, open_loader
from voxelburst.stage import execute
from voxelburst.stages import preprocess, train
from voxelburst.training.strategy import strategy_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture
def dataset(tmp_path: Path) -> SmallDataset:
    made = SmallDataset(tmp_path, budget={"steps": 150})
    assert execute("preprocess", preprocess.run, made.preprocess_task()) == 0
    return made


@pytest.mark.parametrize("strategy", ["fp32", "amp", "dali", "fused", "ddp"])
def test_every_strategy_learns_on_a_gpu(dataset: SmallDataset, strategy: str) -> None:
    assert execute("train", train.run, dataset.train_task(strategy, gpus=1)) == 0
    result = dataset.result(f"train-fold0-{strategy}")
    assert result["host"]["backend"] == "cuda"
    assert result["precision"] == ("fp32" if strategy == "fp32" else "bf16")
    assert result["curve"][-1]["loss"] < -0.6
    assert result["curve"][-1]["pseudoDice"] > 0.8
    assert result["patchesPerSecond"] > 0
    assert 0 <= result["gpuBusyPercent"] <= 100
    assert model_folder.read(dataset.store.local(result["modelPrefix"])).strategy == strategy


def test_fp16_scales_its_gradients_and_resumes_with_the_scale(tmp_path: Path) -> None:
    made = SmallDataset(tmp_path, budget={"steps": 60}, precision="fp16")
    assert execute("preprocess", preprocess.run, made.preprocess_task()) == 0
    assert execute("train", train.run, made.train_task("amp", gpus=1)) == 0
    result = made.result("train-fold0-amp")
    assert result["precision"] == "fp16"
    assert result["curve"][-1]["loss"] < result["curve"][0]["loss"]
    state = torch.load(
        made.store.local(f"train/{digest('amp')}/checkpoints/checkpoint-0.pt"), weights_only=True
    )
    assert state["scaler"]["scale"] >= 1


@pytest.mark.parametrize("kind", ["torch", "dali", "triton"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_on_the_gpu_is_the_one_on_the_cpu(dataset: SmallDataset, kind: str, masked: bool) -> None:
    cases = Cases(dataset.ids, lambda c, name: dataset.store.local(dataset.arrays_prefix(c)) / name)
    sampling = Sampling(seed=1, patch=(16, 16, 16), batch=4, channels=1, dummy2d=False)
    options = LoaderOptions(
        first_step=3,
        positions=range(4),
        classes=3,
        masked=[masked],
        device=torch.device("cpu"),
        workers=0,
    )
    here = open_loader("torch")(cases, sampling, options)
    on_gpu = dataclasses.replace(options, device=torch.device("cuda", 0), workers=2)
    there = open_loader(kind)(cases, sampling, on_gpu)
    for step in range(3, 15):
        a, b = next(here), next(there)
        assert b.image_ncdhw.is_cuda and b.label_ndhw.is_cuda
        differs = a.label_ndhw != b.label_ndhw.cpu()
        assert differs.float().mean() < 2e-3, step
        error = (a.image_ncdhw - b.image_ncdhw.cpu()).abs()
        for position in range(4):
            draw = sampling.draw(step, position, cases.shapes, cases.foreground)
            own_field = kind == "triton" and draw.noise_sigma is not None
            if draw.channels[0].zoom is None and not own_field:
                assert error[position, 0][~differs[position]].max() < 5e-3, (step, position)


@pytest.mark.parametrize("kind", ["dali", "triton"])
def test_a_step_on_the_gpu_is_repeated_bit_for_bit(dataset: SmallDataset, kind: str) -> None:
    cases = Cases(dataset.ids, lambda c, name: dataset.store.local(dataset.arrays_prefix(c)) / name)
    sampling = Sampling(seed=1, patch=(16, 16, 16), batch=4, channels=1, dummy2d=False)
    options = LoaderOptions(
        first_step=0,
        positions=range(4),
        classes=3,
        masked=[False],
        device=torch.device("cuda", 0),
        workers=0,
    )
    images, labels = [], []
    for batch in itertools.islice(open_loader(kind)(cases, sampling, options), 4):
        images.append(batch.image_ncdhw.clone())  # the next batch may take its memory
        labels.append(batch.label_ndhw.clone())
    resumed = next(open_loader(kind)(cases, sampling, dataclasses.replace(options, first_step=3)))
    assert torch.equal(resumed.image_ncdhw, images[3])
    assert torch.equal(resumed.label_ndhw, labels[3])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_step_as_a_graph_trains_as_one_launched_kernel_by_kernel(
    dataset: SmallDataset, precision: str
) -> None:
    cases = Cases(dataset.ids, lambda c, name: dataset.store.local(dataset.arrays_prefix(c)) / name)
    patch = (16, 16, 16)
    work = Work(
        cases=cases, folders=[], network=reference_network(patch, 8), patch=patch, batch=4,
        precision=precision, masked=[False], batch_dice=False, dummy2d=False, median_shape=None,
        device=torch.device("cuda", 0), matrix_peak={},
    )  # fmt: skip
    trained = []
    for graph in (False, True):
        strategy = dataclasses.replace(strategy_of("fused", precision, work.device), graph=graph)
        take = step_of(work, strategy)
        for number, batch in enumerate(itertools.islice(batches_of(work, strategy, "recipe"), 20)):
            take(batch, 0.01 * (1 - number / 20))
        assert take.graph_failure is None
        trained.append(torch.cat([p.detach().flatten() for p in take._parameters]))
    launched, replayed = trained
    assert (launched - replayed).norm() < 1e-2 * launched.norm()
