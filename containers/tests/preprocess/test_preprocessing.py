"""Crop, normalise, resample, and back again (recipe.md, section 2)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxelburst import resampling
from voxelburst.contract import Normalisation
from voxelburst.errors import StageError
from voxelburst.preprocessing import (
    Preparation,
    coarse_axis,
    foreground_locations,
    new_shape,
    nonzero_mask,
    prepare,
    restore,
)

ZSCORE = Normalisation(scheme="zscore", masked=False)


def preparation(*how: Normalisation, spacing=(1.0, 1.0, 1.0), transpose=(0, 1, 2)) -> Preparation:
    return Preparation(transpose=transpose, spacing_mm_zyx=spacing, normalisation=list(how))


def blobs(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Two smooth shapes in millimetres, so that any grid samples the same anatomy."""
    z, y, x = np.meshgrid(
        *((np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"
    )
    size = [n * s for n, s in zip(shape, spacing, strict=True)]
    label = np.zeros(shape, np.uint8)
    near = [0.4 * size[0], 0.45 * size[1], 0.4 * size[2]]
    radius = sum(((a - c) / (0.3 * e)) ** 2 for a, c, e in zip((z, y, x), near, size, strict=True))
    label[radius < 1] = 1
    far = [0.6 * size[0], 0.6 * size[1], 0.65 * size[2]]
    label[sum(((a - c) / (0.22 * e)) ** 2 for a, c, e in zip((z, y, x), far, size, strict=True)) < 1] = 2
    return label


def dice(a: NDArray, b: NDArray, value: int) -> float:
    return 2 * ((a == value) & (b == value)).sum() / ((a == value).sum() + (b == value).sum())


def logits_of(label: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(label.long(), 3).permute(3, 0, 1, 2).float()


def skimages_resize(values: NDArray, shape: tuple[int, ...], order: int) -> NDArray[np.float64]:
    """What nnU-Net calls, resize(..., mode="edge", anti_aliasing=False), which is scipy's zoom and a clip."""
    zoom = [n / o for n, o in zip(shape, values.shape, strict=True)]
    wide = values.astype(np.float64)
    resized = scipy.ndimage.zoom(wide, zoom, order=order, mode="nearest", grid_mode=True)
    assert resized.shape == shape
    return np.clip(resized, wide.min(), wide.max())


def test_crops_to_what_is_not_zero_and_normalises_before_it_resamples() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((20, 24, 22), np.int16)
    image[3:17, 4:20, 5:21] = rng.integers(50, 150, (14, 16, 16))
    done = prepare([image], (1.0, 1.0, 2.0), preparation(ZSCORE))
    assert done.geometry.box_dhw == ((3, 17), (4, 20), (5, 21))
    assert done.image_cdhw.shape == (1, 14, 16, 32)
    inside = image[3:17, 4:20, 5:21].astype(np.float64)
    expected = skimages_resize((inside - inside.mean()) / inside.std(), (14, 16, 32), 3)
    np.testing.assert_allclose(done.image_cdhw[0], expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(20, 12, 17), (13, 40, 11), (5, 3, 150)])
def test_resamples_images_as_nnunet_does(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).standard_normal((13, 18, 70)).astype(np.float32)
    got = resampling.image(torch.from_numpy(image), shape, None)
    np.testing.assert_allclose(got, skimages_resize(image, shape, 3), atol=5e-6)


def test_resamples_a_coarse_axis_by_nearest_neighbour_and_its_slices_by_cubic() -> None:
    image = np.random.default_rng(2).standard_normal((6, 16, 14)).astype(np.float32)
    got = resampling.image(torch.from_numpy(image), (12, 20, 9), 0)
    slices = np.stack([skimages_resize(plane, (20, 9), 3) for plane in image])
    np.testing.assert_allclose(got, slices[np.arange(12) // 2], atol=5e-6)


def test_resamples_labels_linearly_class_by_class() -> None:
    label = blobs((21, 26, 19), (1, 1, 1)).astype(np.int8)
    got = resampling.label(torch.from_numpy(label), (30, 18, 25), None).numpy()
    expected = np.zeros((30, 18, 25), np.int8)
    share = {v: skimages_resize(label == v, (30, 18, 25), 1) for v in (1, 2)}
    for value, weights in share.items():
        expected[weights >= 0.5] = value
    # A weight of one half to the last digit may fall on either side in another order of the same sums.
    ties = sum(np.abs(weights - 0.5) < 1e-6 for weights in share.values()) > 0
    assert ((got == expected) | ties).all()
    assert ties.mean() < 0.01


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            Normalisation(scheme="ct", clip_low=-50, clip_high=100, mean=20, std=10),
            lambda v: (np.clip(v, -50, 100) - 20) / 10,
        ),
        (ZSCORE, lambda v: (v - v.mean()) / v.std()),
        (Normalisation(scheme="none"), lambda v: v),
        (Normalisation(scheme="rescale-0-1"), lambda v: (v - v.min()) / (v.max() - v.min())),
        (Normalisation(scheme="rgb-0-1"), lambda v: v / 255),
    ],
    ids=lambda p: p.scheme if isinstance(p, Normalisation) else "",
)
def test_normalises_as_the_plan_says(how: Normalisation, expected) -> None:
    image = np.random.default_rng(3).integers(1, 250, (9, 8, 7)).astype(np.float32) - 100
    image[image == 0] = 1
    done = prepare([image], (1, 1, 1), preparation(how))
    np.testing.assert_allclose(done.image_cdhw[0], expected(image.astype(np.float64)), rtol=1e-5, atol=1e-5)


def test_a_masked_zscore_takes_only_the_mask_and_marks_the_outside_in_the_label() -> None:
    rng = np.random.default_rng(4)
    image = np.zeros((12, 12, 12), np.float32)
    image[2:10, 2:10, 2:10] = rng.normal(100, 10, (8, 8, 8))
    image[2, 2, 2:10] = 0  # an edge of the box that no tissue fills
    image[5, 5, 5] = 0  # a hole inside
    label = np.zeros(image.shape, np.uint8)
    label[4:6, 4:6, 4:6] = 1
    done = prepare(
        [image], (1, 1, 1), preparation(Normalisation(scheme="zscore", masked=True)), label_zyx=label
    )
    mask = nonzero_mask([image])[2:10, 2:10, 2:10]
    assert mask[3, 3, 3]
    assert not mask[0, 0].any()
    values = image[2:10, 2:10, 2:10][mask].astype(np.float64)
    np.testing.assert_allclose(done.image_cdhw[0][mask], (values - values.mean()) / values.std(), atol=1e-4)
    assert (done.image_cdhw[0][~mask] == 0).all()
    assert done.label_dhw is not None
    assert (done.label_dhw[0, 0] == -1).all()
    assert (done.label_dhw == 1).sum() == 8
    assert ((done.label_dhw == -1) == ~mask).all()


def test_nothing_is_resampled_where_the_spacing_is_the_target() -> None:
    label = blobs((30, 40, 35), (1, 1, 1))
    image = np.random.default_rng(5).normal(500, 50, label.shape).astype(np.float32)
    done = prepare([image], (1, 1, 1), preparation(Normalisation(scheme="none")), label_zyx=label)
    assert np.array_equal(done.image_cdhw[0], image)
    assert np.array_equal(restore(logits_of(done.label_dhw), done.geometry).numpy(), label)


def test_arrays_that_no_memory_holds_are_refused_before_they_are_made() -> None:
    to_microns = dataclasses.replace(
        preparation(Normalisation(scheme="none")), spacing_mm_zyx=(0.001, 0.001, 0.001)
    )
    with pytest.raises(StageError, match=r"0\.001 x 0\.001 x 0\.001 mm") as error:
        prepare([np.ones((4, 4, 4), np.float32)], (2, 2, 2), to_microns)
    assert error.value.code == "ArraysTooLarge"
    assert error.value.got == f"{8000**3} voxels"


@pytest.mark.parametrize(
    ("spacing", "target", "transpose"),
    [
        ((1.0, 1.0, 1.0), (1.3, 1.3, 1.3), (0, 1, 2)),
        ((2.5, 0.8, 0.8), (1.6, 0.8, 0.8), (0, 1, 2)),
        ((0.8, 0.8, 2.5), (0.8, 0.8, 1.6), (2, 0, 1)),
        ((5.0, 0.9, 0.9), (5.0, 1.1, 1.1), (0, 1, 2)),
        ((0.9, 5.0, 0.9), (1.0, 5.0, 1.0), (1, 0, 2)),
    ],
)
def test_a_label_survives_the_round_trip(spacing, target, transpose) -> None:
    shape = tuple(round(120 / s) for s in spacing)
    label = blobs(shape, spacing)
    image = np.zeros(shape, np.float32)
    image[1:-1, 2:-1, 1:-2] = 7  # a crop to undo as well
    done = prepare(
        [image], spacing, preparation(ZSCORE, spacing=target, transpose=transpose), label_zyx=label
    )
    back = restore(logits_of(done.label_dhw), done.geometry).numpy()
    assert back.shape == label.shape
    assert back.dtype == np.uint8
    assert min(dice(back, label, 1), dice(back, label, 2)) >= 0.99


@pytest.mark.parametrize("coarse", [None, 0, 1, 2])
def test_logits_come_back_the_same_in_slabs_of_any_size(coarse: int | None) -> None:
    logits = torch.randn(3, 9, 11, 8, generator=torch.Generator().manual_seed(0))
    shape = (14, 9, 13)
    whole = resampling.logits_planes(logits, shape, coarse, 0, 14)
    parts = [resampling.logits_planes(logits, shape, coarse, start, start + 2) for start in range(0, 14, 2)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    if coarse is None:
        expected = torch.nn.functional.interpolate(logits[None], size=shape, mode="trilinear")[0]
        torch.testing.assert_close(whole, expected, atol=2e-6, rtol=1e-5)


def test_a_coarse_axis_is_one_that_is_more_than_three_times_another() -> None:
    assert coarse_axis((1, 1, 1), (1, 1, 1)) is None
    assert coarse_axis((3, 1, 1), (1, 1, 1)) is None
    assert coarse_axis((3.1, 1, 1), (1, 1, 1)) == 0
    assert coarse_axis((1, 1, 1), (1, 4, 1)) == 1
    assert coarse_axis((4, 1, 4), (1, 1, 1)) is None


def test_the_new_shape_is_rounded_and_never_empty() -> None:
    assert new_shape((10, 11, 1), (1, 1, 1), (4, 2, 9)) == (2, 6, 1)


def test_keeps_ten_thousand_locations_a_class_or_one_percent_and_draws_the_same_again() -> None:
    label = np.zeros((130, 130, 130), np.int8)
    label[:, :, :100] = 1
    label[5, 5, 110:113] = 3
    found = foreground_locations(label, 4)
    assert sorted(found) == ["1", "3"]
    assert len(found["1"]) == 16_900
    assert found["3"].tolist() == [[5, 5, 110], [5, 5, 111], [5, 5, 112]]
    assert (label[tuple(found["1"].T)] == 1).all()
    assert np.array_equal(foreground_locations(label, 4)["1"], found["1"])


SIZE, SPACING = st.integers(2, 14), st.sampled_from([0.5, 0.8, 1.0, 1.7, 4.0])


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(SIZE, SIZE, SIZE),
    spacing=st.tuples(SPACING, SPACING, SPACING),
    target=st.tuples(SPACING, SPACING, SPACING),
    transpose=st.permutations([0, 1, 2]),
    seed=st.integers(0, 9),
)
def test_whatever_the_grid_a_prediction_comes_back_in_the_images_own(
    shape, spacing, target, transpose, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 3, shape).astype(np.float32)
    label = rng.integers(0, 3, shape).astype(np.uint8)
    how = preparation(ZSCORE, spacing=target, transpose=tuple(transpose))
    done = prepare([image], spacing, how, label_zyx=label)
    geometry = done.geometry
    assert done.image_cdhw.shape[1:] == geometry.shape_dhw == done.label_dhw.shape
    assert done.image_cdhw.isfinite().all()
    back = restore(logits_of(done.label_dhw), geometry).numpy()
    assert back.shape == shape
    assert set(np.unique(back)) <= {0, 1, 2}
    outside = np.ones(shape, bool)
    box = dict(zip(transpose, geometry.box_dhw, strict=True))
    outside[tuple(slice(*box[axis]) for axis in range(3))] = False
    assert not back[outside].any()
    if spacing == target:
        assert np.array_equal(back[~outside], label[~outside])
