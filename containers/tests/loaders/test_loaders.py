"""Both loaders: the same samples, aligned with their labels, the same again."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch

from voxelburst.errors import StageError
from voxelburst.loaders import Cases, LoaderOptions, Sampling, open_loader
from voxelburst.loaders.batch import Batch
from voxelburst.loaders.draws import PLAIN, Draw

PATCH = (20, 28, 24)
LOADERS = ("torch", "dali")
OPTIONS = LoaderOptions(
    first_step=0, positions=range(4), classes=3, masked=[False], device=torch.device("cpu"), workers=0
)
SAMPLING = Sampling(seed=5, patch=PATCH, batch=4, channels=1, dummy2d=False)


def smooth_label(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    field = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    return np.digitize(field, np.quantile(field, [0.7, 0.88])).astype(np.int8)


def write_cases(folder: Path, image_of, count: int = 3, channels: int = 1) -> Cases:
    """Cases of different sizes whose images are made from their labels."""
    ids = [f"c{i}" for i in range(count)]
    for i, case_id in enumerate(ids):
        (folder / case_id).mkdir()
        label = smooth_label((22 + 3 * i, 34 - 2 * i, 19 + 4 * i), i)
        image = np.stack([image_of(label, i + 10 * c) for c in range(channels)]).astype(np.float32)
        np.save(folder / case_id / "image.npy", image)
        np.save(folder / case_id / "label.npy", label)
        np.savez(
            folder / case_id / "foreground.npz",
            **{str(v): np.argwhere(label == v).astype(np.int32) for v in (1, 2)},  # type: ignore[arg-type]
        )
    return Cases(ids, lambda case_id, name: folder / case_id / name)


def tissue(label: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(label.shape)
    return label + scipy.ndimage.gaussian_filter(noise, 1.0)


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return write_cases(tmp_path, tissue)


class Altered(Sampling):
    """A sampling whose draws are altered, to see one transform alone."""

    def draw(self, *arguments) -> Draw:
        return alter(super().draw(*arguments))


def alter(draw: Draw) -> Draw:
    raise NotImplementedError


def batch_of(kind: str, cases: Cases, sampling: Sampling = SAMPLING, **options) -> Batch:
    return next(open_loader(kind)(cases, sampling, dataclasses.replace(OPTIONS, **options)))


@pytest.mark.parametrize("kind", LOADERS)
def test_an_image_that_encodes_its_label_stays_aligned_with_it(kind: str, tmp_path: Path) -> None:
    # The image is the label. Intensity transforms keep the order of the classes' means, and only voxels at a
    # class's edge may mix; a shift of image against label by one voxel would cost far more.
    cases = write_cases(tmp_path, lambda label, _: label.astype(np.float32))
    options = dataclasses.replace(OPTIONS, positions=range(4))
    inside, total = 0, 0
    for batch in itertools.islice(open_loader(kind)(cases, SAMPLING, options), 12):
        for image, label in zip(batch.image_ncdhw[:, 0].numpy(), batch.label_ndhw.numpy(), strict=True):
            core = [scipy.ndimage.binary_erosion(label == v, border_value=0) for v in range(3)]
            if min(c.sum() for c in core) < 20:
                continue
            means = [image[c].mean() for c in core]
            assert means[0] < means[1] < means[2]
            nearest = np.abs(image[..., None] - np.array(means)).argmin(-1)
            anywhere = core[0] | core[1] | core[2]
            inside += (nearest == label)[anywhere].sum()
            total += anywhere.sum()
            if total:
                shifted = np.roll(label, 3, 1)
                assert (nearest == shifted)[anywhere].mean() < (nearest == label)[anywhere].mean()
    assert total > 100_000
    assert inside / total > 0.97


@pytest.mark.parametrize("masked", [False, True])
def test_both_loaders_give_the_same_samples(cases: Cases, masked: bool) -> None:
    streams = [
        open_loader(kind)(cases, SAMPLING, dataclasses.replace(OPTIONS, masked=[masked])) for kind in LOADERS
    ]
    for step in range(12):
        by_torch, by_dali = next(streams[0]), next(streams[1])
        assert by_torch.image_ncdhw.shape == by_dali.image_ncdhw.shape == (4, 1, *PATCH)
        assert by_torch.label_ndhw.dtype == by_dali.label_ndhw.dtype == torch.uint8
        for position in range(4):
            draw = SAMPLING.draw(step, position, cases.shapes, cases.foreground)
            differs = by_torch.label_ndhw[position] != by_dali.label_ndhw[position]
            assert differs.float().mean() < 1e-3, draw
            # Nearest neighbours on a tie go either way: those samples are compared by the bulk of them.
            error = (by_torch.image_ncdhw[position] - by_dali.image_ncdhw[position]).abs()
            if draw.channels[0].zoom is None:
                assert error[0][~differs].max() < 2e-3, draw
            else:
                assert error.median() < 0.02, draw


@pytest.mark.parametrize("kind", LOADERS)
def test_the_same_step_gives_the_same_batch_bit_for_bit_wherever_the_loader_starts(
    kind: str, cases: Cases
) -> None:
    from_the_start = list(itertools.islice(open_loader(kind)(cases, SAMPLING, OPTIONS), 6))
    resumed = batch_of(kind, cases, first_step=5)
    assert torch.equal(resumed.image_ncdhw, from_the_start[5].image_ncdhw)
    assert torch.equal(resumed.label_ndhw, from_the_start[5].label_ndhw)
    assert not torch.equal(resumed.image_ncdhw, from_the_start[4].image_ncdhw)


@pytest.mark.parametrize("kind", LOADERS)
def test_ranks_share_a_batch_without_a_sample_twice(kind: str, cases: Cases) -> None:
    whole = batch_of(kind, cases)
    ranks = [batch_of(kind, cases, positions=positions) for positions in (range(3), range(3, 4))]
    assert torch.equal(torch.cat([r.image_ncdhw for r in ranks]), whole.image_ncdhw)
    assert torch.equal(torch.cat([r.label_ndhw for r in ranks]), whole.label_ndhw)


@pytest.mark.parametrize("kind", LOADERS)
def test_worker_processes_give_what_the_process_itself_gives(kind: str, cases: Cases) -> None:
    alone = list(itertools.islice(open_loader(kind)(cases, SAMPLING, OPTIONS), 4))
    options = dataclasses.replace(OPTIONS, workers=2)
    helped = list(itertools.islice(open_loader(kind)(cases, SAMPLING, options), 4))
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.image_ncdhw, b.image_ncdhw)


@pytest.mark.parametrize("kind", LOADERS)
def test_worker_processes_end_with_the_loader(kind: str, cases: Cases) -> None:
    # DALI keeps its pipeline: at the end of Python each of 12 processes was waited for 5 s.
    batches = open_loader(kind)(cases, SAMPLING, dataclasses.replace(OPTIONS, workers=2))
    next(batches)
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize(
    "change",
    [
        {"blur_sigma": (0.6, 0.9, 0.7)},
        {"brightness": 1.2},
        {"contrast": 1.2},
        {"zoom": 0.55},
        {"inverted_gamma": 1.4},
        {"gamma": 0.75},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_intensity_transform_does_what_the_recipe_says(
    kind: str, change: dict, cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_this(draw: Draw) -> Draw:
        return dataclasses.replace(draw.plain(), channels=[dataclasses.replace(PLAIN, **change)])

    plain = batch_of(kind, cases, augment=False).image_ncdhw[:, 0].numpy().astype(np.float64)
    monkeypatch.setitem(globals(), "alter", only_this)
    changed = batch_of(kind, cases, Altered(**dataclasses.asdict(SAMPLING))).image_ncdhw[:, 0].numpy()
    for before, after in zip(plain, changed, strict=True):
        np.testing.assert_allclose(after, reference(before, **change), atol=3e-3)


def reference(image: np.ndarray, **change) -> np.ndarray:
    """The transforms by their definitions, in float64."""
    (name, value), *_ = change.items()
    if name == "blur_sigma":
        return scipy.ndimage.gaussian_filter(
            image, value, mode="mirror", radius=[int(np.ceil(3 * s)) for s in value]
        )
    if name == "brightness":
        return image * value
    if name == "contrast":
        return np.clip((image - image.mean()) * value + image.mean(), image.min(), image.max())
    if name == "zoom":
        small = [round(n * value) for n in image.shape]
        index = [
            np.floor((np.arange(m) + 0.5) * n / m).astype(int)
            for m, n in zip(small, image.shape, strict=True)
        ]
        factors = [n / m for m, n in zip(small, image.shape, strict=True)]
        return scipy.ndimage.zoom(image[np.ix_(*index)], factors, order=1, mode="nearest", grid_mode=True)
    if name == "inverted_gamma":
        return -reference(-image, gamma=value)
    extent = image.max() - image.min()
    curved = ((image - image.min()) / extent) ** value * extent + image.min()
    return (curved - curved.mean()) / curved.std() * image.std() + image.mean()


@pytest.mark.parametrize("kind", LOADERS)
def test_rotation_and_scaling_sample_the_case_itself_around_the_patchs_centre(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The image is a linear ramp, which trilinear interpolation reproduces exactly.
    slope = np.array([0.03, -0.02, 0.05])

    def ramp(label: np.ndarray, _: int) -> np.ndarray:
        return 5 + np.tensordot(np.moveaxis(np.indices(label.shape), 0, -1), slope, 1)

    cases = write_cases(tmp_path, ramp, count=1)
    drawn: list[Draw] = []

    def spatial(draw: Draw) -> Draw:
        angles, scale = (0.2, -0.3, 0.4), 0.75
        kept = dataclasses.replace(draw.plain(), angles=angles, scale=scale)
        kept = dataclasses.replace(kept, matrix=SAMPLING.matrix(angles, scale))
        drawn.append(kept)
        return kept

    monkeypatch.setitem(globals(), "alter", spatial)
    batch = batch_of(kind, cases, Altered(**dataclasses.asdict(SAMPLING)))
    half = (np.array(PATCH) - 1) / 2
    for image, draw in zip(batch.image_ncdhw[:, 0].numpy(), drawn, strict=True):
        assert draw.matrix is not None
        offsets = np.moveaxis(np.indices(PATCH), 0, -1) - half
        where = np.array(draw.start) + half + offsets @ draw.matrix.T
        inside = ((where > 0) & (where < np.array(cases.shapes[0]) - 1)).all(-1)
        outside = ((where < -1) | (where > np.array(cases.shapes[0]))).any(-1)
        np.testing.assert_allclose(image[inside], (5 + where @ slope)[inside], atol=2e-4)
        assert (image[outside] == 0).all()
        assert inside.mean() > 0.5


@pytest.mark.parametrize("kind", LOADERS)
def test_several_channels_are_changed_each_by_its_own_draw(kind: str, tmp_path: Path) -> None:
    cases = write_cases(tmp_path, tissue, channels=2)
    sampling = dataclasses.replace(SAMPLING, channels=2)
    two = list(
        itertools.islice(
            open_loader(kind)(cases, sampling, dataclasses.replace(OPTIONS, masked=[False, False])), 3
        )
    )
    other = list(
        itertools.islice(
            open_loader("torch")(cases, sampling, dataclasses.replace(OPTIONS, masked=[False, False])), 3
        )
    )
    for a, b in zip(two, other, strict=True):
        assert a.image_ncdhw.shape == (4, 2, *PATCH)
        assert (a.image_ncdhw - b.image_ncdhw).abs().median() < 1e-3


def test_arrays_that_do_not_fit_are_memory_mapped_and_give_the_same(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxelburst.loaders.cases._SHARE_OF_FREE_MEMORY", 0)
    mapped = Cases(cases.ids, lambda case_id, name: tmp_path / case_id / name)
    assert cases.resident
    assert not mapped.resident
    for kind in LOADERS:
        assert torch.equal(batch_of(kind, mapped).image_ncdhw, batch_of(kind, cases).image_ncdhw)


def test_names_the_case_whose_arrays_are_missing(cases: Cases, tmp_path: Path) -> None:
    (tmp_path / "c1" / "label.npy").unlink()
    with pytest.raises(StageError, match=r"c1 has no label\.npy") as error:
        Cases(cases.ids, lambda case_id, name: tmp_path / case_id / name)
    assert error.value.case_id == "c1"
