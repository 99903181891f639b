"""Sampling and augmentation parameters against recipe.md, section 3."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from voxelburst.loaders.draws import Draw, Sampling, region_shape, rotation

PATCH = (40, 56, 40)
DRAWS = 4000
# A true distribution fails a test at this level once in ten thousand seeds; the seed is fixed.
LEVEL = 1e-4


def sampling(**fields) -> Sampling:
    return Sampling(**{"seed": 3, "patch": PATCH, "batch": 9, "channels": 2, "dummy2d": False, **fields})


@pytest.fixture(scope="module")
def draws() -> list[Draw]:
    shapes, foreground = [(90, 100, 80)] * 5, [{"1": np.array([[50, 50, 50]], np.int32)}] * 5
    return [
        sampling().draw(step, position, shapes, foreground)
        for step in range(DRAWS // 4)
        for position in range(4)
    ]


def assert_share(drawn: list[bool], probability: float) -> None:
    assert scipy.stats.binomtest(sum(drawn), len(drawn), probability).pvalue > LEVEL


def assert_uniform(values: list[float], low: float, high: float) -> None:
    assert len(values) > 200
    assert scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > LEVEL


def assert_around_one(values: list[float], low: float, high: float) -> None:
    """One half uniform below 1, the other uniform above it."""
    below, above = [v for v in values if v < 1], [v for v in values if v >= 1]
    assert_share([v < 1 for v in values], 0.5)
    assert_uniform(below, low, 1)
    assert_uniform(above, 1, high)


def test_rotates_a_fifth_by_up_to_30_degrees_about_each_axis(draws: list[Draw]) -> None:
    assert_share([d.angles is not None for d in draws], 0.2)
    angles = np.array([d.angles for d in draws if d.angles])
    for axis in range(3):
        assert_uniform(angles[:, axis].tolist(), -math.radians(30), math.radians(30))
    assert np.abs(np.corrcoef(angles.T) - np.eye(3)).max() < 0.15


def test_scales_a_fifth_by_0_7_to_1_4_whether_it_rotates_or_not(draws: list[Draw]) -> None:
    assert_share([d.scale is not None for d in draws], 0.2)
    assert_uniform([d.scale for d in draws if d.scale], 0.7, 1.4)
    assert_share([d.scale is not None for d in draws if d.angles], 0.2)
    assert_share([d.matrix is not None for d in draws], 1 - 0.8 * 0.8)


def test_adds_noise_to_a_tenth_with_a_sigma_of_up_to_0_1(draws: list[Draw]) -> None:
    assert_share([d.noise_sigma is not None for d in draws], 0.1)
    assert_uniform([d.noise_sigma for d in draws if d.noise_sigma is not None], 0.0, 0.1)
    assert len({d.noise_seed for d in draws}) == len(draws)


def test_blurs_a_fifth_and_in_it_half_of_the_channels(draws: list[Draw]) -> None:
    blurred = [[c.blur_sigma is not None for c in d.channels] for d in draws]
    # 0.2 of the samples, of which a quarter then has no channel chosen.
    assert_share([any(b) for b in blurred], 0.2 * 0.75)
    assert_share([all(b) for b in blurred], 0.2 * 0.25)
    sigmas = np.array([c.blur_sigma for d in draws for c in d.channels if c.blur_sigma])
    for axis in range(3):
        assert_uniform(sigmas[:, axis].tolist(), 0.5, 1.0)


@pytest.mark.parametrize(
    ("change", "probability", "low", "high"),
    [
        ("brightness", 0.15, 0.75, 1.25),
        ("contrast", 0.15, 0.75, 1.25),
        ("inverted_gamma", 0.1, 0.7, 1.5),
        ("gamma", 0.3, 0.7, 1.5),
    ],
)
def test_changes_intensities_around_one_channel_by_channel(
    draws: list[Draw], change: str, probability: float, low: float, high: float
) -> None:
    values = [[getattr(c, change) for c in d.channels] for d in draws]
    assert_share([v[0] is not None for v in values], probability)
    assert all((v[0] is None) == (v[1] is None) for v in values)
    drawn = [v for v in values if v[0] is not None]
    assert_around_one([v for pair in drawn for v in pair], low, high)
    assert all(v[0] != v[1] for v in drawn)


def test_simulates_low_resolution_in_a_quarter_and_in_it_half_of_the_channels(draws: list[Draw]) -> None:
    zoomed = [[c.zoom is not None for c in d.channels] for d in draws]
    assert_share([any(z) for z in zoomed], 0.25 * 0.75)
    assert_share([all(z) for z in zoomed], 0.25 * 0.25)
    assert_uniform([c.zoom for d in draws for c in d.channels if c.zoom], 0.5, 1.0)


def test_mirrors_each_axis_in_half_of_the_samples(draws: list[Draw]) -> None:
    mirror = np.array([d.mirror for d in draws])
    for axis in range(3):
        assert_share(mirror[:, axis].tolist(), 0.5)
    assert_share((mirror[:, 0] & mirror[:, 1] & mirror[:, 2]).tolist(), 0.125)


def test_dummy_2d_rotates_in_the_plane_by_any_angle_and_leaves_the_first_axis_alone() -> None:
    flat = sampling(dummy2d=True, patch=(20, 320, 256))
    drawn = [flat.draw(step, 0, [(24, 400, 400)], [{}]) for step in range(3000)]
    assert_share([d.angles is not None for d in drawn], 0.2)
    assert_uniform([d.angles[0] for d in drawn if d.angles], -math.pi, math.pi)
    for draw in drawn:
        if draw.matrix is not None:
            assert draw.matrix[0].tolist() == [1, 0, 0]
            assert draw.matrix[:, 0].tolist() == [1, 0, 0]


def test_draws_cases_uniformly_and_places_uniformly(draws: list[Draw]) -> None:
    counts = np.bincount([d.case for d in draws], minlength=5)
    assert scipy.stats.chisquare(counts).pvalue > LEVEL
    # A region of 73 in a case of 90 has 18 places; the patch lies 16 voxels into it.
    starts = np.array([d.start for d in draws])
    for axis, (extent, region, patch) in enumerate(zip((90, 100, 80), (73, 80, 64), PATCH, strict=True)):
        places = starts[:, axis] - (region - patch) // 2
        assert places.min() == 0
        assert places.max() == extent - region
        assert scipy.stats.chisquare(np.bincount(places)).pvalue > LEVEL


def test_forces_the_last_third_of_the_batch_onto_foreground() -> None:
    assert [sampling(batch=2).forced(5, p) for p in range(2)] == [False, True]
    assert sum(sampling(batch=9).forced(5, p) for p in range(9)) == 3
    assert sum(sampling(batch=7).forced(5, p) for p in range(7)) == 2
    assert [sampling(batch=1).forced(step, 0) for step in range(6)] == [False, False, True] * 2
    where = {"1": np.array([[60, 70, 50]], np.int32), "2": np.array([[30, 20, 40], [30, 21, 40]], np.int32)}
    drawn = [sampling().draw(step, 8, [(120, 120, 120)], [where]) for step in range(600)]
    # Within the clamp to the volume's lower edge, the drawn voxel is the patch's centre.
    centres = [tuple(s + p // 2 for s, p in zip(d.start, PATCH, strict=True)) for d in drawn]
    assert_share([c[0] > 50 for c in centres], 0.5)
    assert {c for c in centres if c[0] > 50} == {(60, 70, 50)}


def test_a_case_smaller_than_the_region_is_centred_to_within_a_voxel() -> None:
    drawn = [sampling().draw(step, 0, [(36, 50, 35)], [{}]) for step in range(300)]
    starts = np.array([d.start for d in drawn])
    assert (starts.max(0) - starts.min(0) <= 1).all()
    centres = starts + np.array(PATCH) / 2 - np.array((36, 50, 35)) / 2
    assert np.abs(centres).max() <= 1


def test_a_draw_depends_on_seed_step_and_position_alone() -> None:
    shapes, foreground = [(90, 100, 80)] * 5, [{}] * 5
    one = sampling().draw(11, 4, shapes, foreground)
    again = sampling().draw(11, 4, shapes, foreground)
    assert repr(one) == repr(again)
    others = [
        sampling().draw(12, 4, shapes, foreground),
        sampling().draw(11, 5, shapes, foreground),
        sampling(seed=4).draw(11, 4, shapes, foreground),
    ]
    assert len({o.noise_seed for o in [one, *others]}) == 4


def test_regions_are_those_of_nnunet() -> None:
    assert region_shape((40, 56, 40), False) == (73, 80, 64)
    assert region_shape((128, 128, 128), False) == (205, 205, 205)
    assert region_shape((64, 192, 160), False) == (178, 289, 200)


def test_a_rotation_is_one() -> None:
    matrix = rotation((0.3, -0.2, 0.5))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(rotation((math.pi / 2, 0, 0)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
