"""Windows cover a volume evenly, and what a model says of them adds up to what it says of the volume."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voxelburst.contract import InferSettings
from voxelburst.engines import Engine
from voxelburst.inference.sliding_window import SlidingWindow
from voxelburst.inference.windows import starts, window_grid

SIZES = st.integers(1, 40)
PATCHES = st.integers(2, 16)
OVERLAPS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9])
SHAPES = st.tuples(*[st.integers(1, 14)] * 3)
PATCH_SHAPES = st.tuples(*[st.sampled_from([4, 6, 8])] * 3)


class Pointwise(Engine):
    """Two classes from one channel, voxel by voxel: whatever the windows, a volume's logits are known."""

    name, precision = "pointwise", "fp32"

    def __init__(self, batch: int = 1) -> None:
        self.device = torch.device("cpu")
        self.batch = batch
        self.calls: list[int] = []

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(windows_ncdhw))
        return torch.cat([windows_ncdhw, 3 - windows_ncdhw**2], 1)


class Ramp(Pointwise):
    """A class's logit grows along d of the window: no flip of it leaves it as it is."""

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(windows_ncdhw.shape[2], dtype=torch.float32)[None, None, :, None, None]
        return torch.cat([windows_ncdhw + ramp, windows_ncdhw], 1)


def sliding(engine: Engine, patch, *, overlap=0.5, mirroring=False, **options) -> SlidingWindow:
    return SlidingWindow(engine, patch, InferSettings(overlap=overlap, mirroring=mirroring), **options)


@given(SIZES, PATCHES, OVERLAPS)
def test_windows_are_evenly_spread_up_to_the_border(size, patch, overlap) -> None:
    found = starts(size, patch, overlap)
    if size <= patch:
        assert found == [-((patch - size) // 2)]
        return
    assert len(found) == math.ceil((size - patch) / (patch * (1 - overlap))) + 1
    assert (found[0], found[-1]) == (0, size - patch)
    gaps = np.diff(found)
    assert gaps.max() - gaps.min() <= 1
    assert gaps.max() <= math.ceil(patch * (1 - overlap))


def test_the_count_is_nnunets() -> None:
    assert starts(400, 128, 0.5) == [0, 54, 109, 163, 218, 272]
    assert len(starts(512, 128, 0.5)) == 7


@settings(deadline=None)
@given(SHAPES, PATCH_SHAPES, OVERLAPS)
@example((7, 9, 9), (4, 4, 4), 0.9)
def test_weights_sum_to_one_at_every_voxel(shape, patch, overlap) -> None:
    grid = window_grid(shape, patch, overlap)
    total = torch.zeros(1, *shape)
    for index in range(len(grid)):
        grid.add(total, index, torch.ones(1, *patch))
    # float32 sums over many windows where the overlap is large: half a unit in the last place for each.
    rounding = len(grid) * float(np.finfo(np.float32).eps) / 2
    assert total.numpy() == pytest.approx(np.ones((1, *shape)), abs=1e-6 + rounding)


def test_a_voxel_counts_most_in_the_window_that_it_is_in_the_middle_of() -> None:
    grid = window_grid((24, 8, 8), (16, 8, 8), 0.5)
    assert [corner[0] for corner in grid.corners] == [0, 8]
    shares = torch.zeros(1, 24, 8, 8)
    grid.add(shares, 0, torch.ones(1, 16, 8, 8))
    profile = shares[0, 8:16, 4, 4]
    assert (profile.diff() < 0).all()
    # Voxels 11 and 12 mirror each other between the two windows.
    assert float(profile[3] + profile[4]) == pytest.approx(1.0, abs=1e-5)
    # sigma = patch / 8 = 2: the ratio of the Gaussians at distances 2.5 and 5.5 from the middles.
    assert float(profile[2] / (1 - profile[2])) == pytest.approx(math.exp((5.5**2 - 2.5**2) / 8), rel=1e-4)


@settings(deadline=None)
@given(SHAPES, PATCH_SHAPES, OVERLAPS)
def test_small_volumes_are_padded_with_zeros_on_both_sides(shape, patch, overlap) -> None:
    image = torch.arange(1, 1 + math.prod(shape), dtype=torch.float32).reshape(1, *shape)
    grid = window_grid(shape, patch, overlap)
    for index in range(len(grid)):
        window = grid.cut(image, index)
        assert window.shape == (1, *patch)
        for place in itertools.product(*(range(0, p, 3) for p in patch)):
            at = [c + o for c, o in zip(grid.corners[index], place, strict=True)]
            inside = all(0 <= a < n for a, n in zip(at, shape, strict=True))
            assert float(window[(0, *place)]) == (float(image[(0, *at)]) if inside else 0.0)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(SHAPES, min_size=1, max_size=4),
    PATCH_SHAPES,
    st.sampled_from([0.0, 0.5]),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_volumes_logits_do_not_depend_on_how_its_windows_are_batched(
    shapes, patch, overlap, batch, mirroring
) -> None:
    engine = Pointwise(batch)
    window = sliding(engine, patch, overlap=overlap, mirroring=mirroring)
    rng = torch.Generator().manual_seed(0)
    volumes = [(i, torch.randn(1, *shape, generator=rng)) for i, shape in enumerate(shapes)]
    found = list(window.stream(volumes))
    assert [logits.key for logits in found] == list(range(len(shapes)))
    for (_, image), logits in zip(volumes, found, strict=True):
        expected = torch.cat([image, 3 - image**2])
        assert logits.logits_kdhw.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
        assert sum(logits.shares.values()) > 0
    windows = sum(logits.windows for logits in found)
    assert windows == window.timings.windows
    # Every call but the last is full, across the borders of volumes.
    flips = 8 if mirroring else 1
    assert engine.calls[: flips * (windows // batch)] == [batch] * (flips * (windows // batch))
    assert len(window.timings.all_seconds()) == math.ceil(windows / batch)


def test_mirroring_is_the_mean_over_all_eight_flips() -> None:
    image = torch.randn(1, 6, 6, 6)
    plain, mirrored = (
        next(
            iter(
                SlidingWindow(Ramp(), (6, 6, 6), InferSettings(overlap=0.5, mirroring=m)).stream([(0, image)])
            )
        )
        for m in (False, True)
    )
    difference = mirrored.logits_kdhw[0] - image[0]
    # Over a flip of d the ramp 0..5 and its mirror image 5..0 have the mean 2.5.
    assert difference.numpy() == pytest.approx(np.full((6, 6, 6), 2.5), abs=1e-5)
    assert (plain.logits_kdhw[0] - image[0]).numpy()[:, 0, 0] == pytest.approx(np.arange(6.0), abs=1e-5)


def test_tells_how_much_of_its_volumes_is_done() -> None:
    shares: list[float] = []
    window = SlidingWindow(
        Pointwise(2), (4, 4, 4), InferSettings(overlap=0.5, mirroring=False), shares.append
    )
    list(window.stream([("a", torch.zeros(1, 9, 4, 4)), ("b", torch.zeros(1, 4, 4, 4))]))
    assert sum(shares) == pytest.approx(2.0)
    assert len(shares) > 1
