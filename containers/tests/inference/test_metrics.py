"""Dice, HD95 and NSD against slow definitions of their own, and MONAI's where it has the same convention."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray

from voxelburst.contract import ClassScore, Label
from voxelburst.metrics import mean_dice, score_case, surfaces
from voxelburst.metrics.overlap import confusion

LABELS = [Label(value=v, name=name) for v, name in enumerate(("background", "organ", "lesion"))]
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.5, 3.0])] * 3)
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)


def label_maps(values: int = 3) -> st.SearchStrategy[tuple[NDArray, NDArray]]:
    """Pairs of one shape."""
    voxel = st.integers(0, values - 1)
    return SHAPES.flatmap(
        lambda shape: st.tuples(*[hnp.arrays(np.uint8, shape, elements=voxel, fill=st.just(0))] * 2)
    )


def score(predicted: NDArray, reference: NDArray, spacing=(1.0, 1.0, 1.0), tolerance=1.0) -> list[ClassScore]:
    return score_case(predicted, reference, LABELS, spacing, tolerance, workers=1)


# The definitions, by loops.


def slow_edges(mask: NDArray) -> list[tuple[int, ...]]:
    """Voxels of the mask with a face towards a voxel that is not of it or not there."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 1]
    inside = {tuple(map(int, p)) for p in np.argwhere(mask)}
    return [p for p in inside if any(tuple(np.add(p, s)) not in inside for s in steps)]


def slow_surface(mask: NDArray, spacing: tuple[float, ...]) -> dict[tuple[int, ...], float]:
    """Area of the surface in each 2x2x2 neighbourhood, with the table of DeepMind's surface-distance."""
    from monai.metrics.utils import _get_neighbour_code_to_normals_table

    normals = _get_neighbour_code_to_normals_table().numpy()
    face = np.array([spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]])
    padded = np.pad(mask, 1)
    found = {}
    for corner in itertools.product(*(range(n - 1) for n in padded.shape)):
        code = 0
        for offset in itertools.product((0, 1), repeat=3):
            code = 2 * code + int(padded[tuple(np.add(corner, offset))])
        if code not in (0, 255):
            found[corner] = float(np.linalg.norm(normals[code] * face, axis=-1).sum())
    return found


def slow_distances(points, to, spacing) -> list[float]:
    return [min(math.dist(np.multiply(p, spacing), np.multiply(q, spacing)) for q in to) for p in points]


def slow_hd95(predicted: NDArray, reference: NDArray, spacing) -> float | None:
    if not predicted.any() and not reference.any():
        return None
    if not predicted.any() or not reference.any():
        return math.hypot(*np.multiply(reference.shape, spacing))
    a, b = slow_edges(predicted), slow_edges(reference)
    return max(np.percentile(slow_distances(p, q, spacing), 95) for p, q in ((a, b), (b, a)))


def slow_nsd(predicted: NDArray, reference: NDArray, spacing, tolerance: float) -> float | None:
    if not predicted.any() and not reference.any():
        return None
    a, b = slow_surface(predicted, spacing), slow_surface(reference, spacing)
    if not a or not b:
        return 0.0
    near = 0.0
    for one, other in ((a, b), (b, a)):
        within = np.array(slow_distances(one, other, spacing)) <= tolerance * (1 + 1e-9)
        near += float(np.array(list(one.values()))[within].sum())
    return near / (sum(a.values()) + sum(b.values()))


@settings(max_examples=60, deadline=None)
@given(label_maps(), SPACINGS, st.sampled_from([0.0, 0.7, 1.0, 2.2]))
def test_every_score_is_what_its_definition_gives(maps, spacing, tolerance) -> None:
    predicted, reference = maps
    for label, found in zip(LABELS[1:], score(predicted, reference, spacing, tolerance), strict=True):
        p, r = predicted == label.value, reference == label.value
        assert (found.reference_voxels, found.predicted_voxels) == (r.sum(), p.sum())
        expected = None if not (p.any() or r.any()) else 2 * (p & r).sum() / (p.sum() + r.sum())
        assert found.dice == pytest.approx(expected)
        assert found.hd95_mm == pytest.approx(slow_hd95(p, r, spacing), abs=1e-3)
        assert found.nsd == pytest.approx(slow_nsd(p, r, spacing, tolerance), abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@settings(max_examples=30, deadline=None)
@given(label_maps(values=2), SPACINGS)
def test_monai_agrees_where_it_has_the_same_convention(maps, spacing) -> None:
    predicted, reference = maps
    if not predicted.any() or not reference.any():
        return
    found = score(predicted, reference, spacing, 1.0)[0]
    one_hot = [torch.from_numpy(np.stack([m == 0, m == 1]))[None].float() for m in (predicted, reference)]
    hd95 = compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)
    nsd = compute_surface_dice(*one_hot, class_thresholds=[1.0], spacing=spacing, use_subvoxels=True)
    assert found.hd95_mm == pytest.approx(float(hd95), abs=1e-3)
    # MONAI compares float32 distances with the tolerance: it can lose an element that is exactly at it.
    if not any(abs(d - 1.0) < 1e-4 for d in all_distances(predicted, reference, spacing)):
        assert found.nsd == pytest.approx(float(nsd), abs=1e-5)


def all_distances(predicted: NDArray, reference: NDArray, spacing) -> list[float]:
    a, b = slow_surface(predicted == 1, spacing), slow_surface(reference == 1, spacing)
    return slow_distances(a, b, spacing) + slow_distances(b, a, spacing)


def test_the_area_of_a_large_sphere_is_that_of_its_formula() -> None:
    spacing = (1.5, 1.0, 0.75)
    at = [(np.arange(n) + 0.5) * mm - n * mm / 2 for n, mm in zip((60, 90, 120), spacing, strict=True)]
    z, y, x = np.meshgrid(*at, indexing="ij")
    elements = surfaces.surface_elements(z**2 + y**2 + x**2 < 40.0**2)
    area = surfaces._area_of_code_mm2(spacing)[elements.codes].sum()
    # Marching cubes on a binary mask gives more than the sphere: staircases are longer than slopes.
    assert 1.0 < area / (4 * np.pi * 40.0**2) < 1.12


def test_a_surface_at_the_tolerance_counts_as_within_it() -> None:
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[3:9, 3:9, 3:9] = 1
    # 0.7 is no binary fraction: 3 * 0.7 is rounded, and so is its square's root.
    found = score(np.roll(reference, 3, 0), reference, (0.7, 0.7, 0.7), 2.1)[0]
    assert found.nsd == 1.0
    assert found.hd95_mm == 2.1


def test_perfect_masks_score_one_and_no_distance() -> None:
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[2:6, 2:6, 2:6] = 1
    reference[6:, 6:, 6:] = 2
    scores = score(reference, reference)
    assert [(s.dice, s.hd95_mm, s.nsd) for s in scores] == [(1.0, 0.0, 1.0)] * 2
    assert mean_dice(scores) == 1.0


def test_empty_masks_follow_the_stated_conventions() -> None:
    empty, full = np.zeros((10, 20, 30), np.uint8), np.zeros((10, 20, 30), np.uint8)
    full[2:4, 2:4, 2:4] = 1
    diagonal = round(math.sqrt(20**2 + 20**2 + 15**2), 4)
    for predicted, reference in ((full, empty), (empty, full)):
        one_side, neither = score(predicted, reference, (2.0, 1.0, 0.5))
        assert (one_side.dice, one_side.hd95_mm, one_side.nsd) == (0.0, diagonal, 0.0)
        assert (neither.dice, neither.hd95_mm, neither.nsd) == (None, None, None)
        assert mean_dice([one_side, neither]) == 0.0
    assert mean_dice(score(empty, empty)) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), SPACINGS, st.sampled_from([0.02, 0.3, 0.7]))
def test_both_ways_to_measure_distances_agree(seed, spacing, density) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(4, 14, 3))
    one, other = (surfaces.edge_voxels(rng.random(shape) < density) for _ in range(2))
    if len(one.flat) == 0 or len(other.flat) == 0:
        return
    by_tree = surfaces._by_tree(one.flat, other, spacing, 1, np.inf)
    by_transform = surfaces._by_transform(one.flat, other, spacing)
    assert by_tree == pytest.approx(by_transform, abs=1e-4)


def test_far_masks_are_found_beyond_the_first_margin() -> None:
    """The tree looks near a point first: what lies 200 mm away must still be found, and exactly."""
    reference, predicted = np.zeros((210, 6, 6), np.uint8), np.zeros((210, 6, 6), np.uint8)
    reference[:2, :2, :2] = 1
    predicted[-2:, -2:, -2:] = 1
    found = score(predicted, reference)[0]
    assert found.hd95_mm == pytest.approx(slow_hd95(predicted == 1, reference == 1, (1, 1, 1)), abs=1e-3)
    assert found.nsd == 0.0


@given(label_maps(), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_voxels_are_counted_alike_whatever_is_counted_at_once(maps, at_once) -> None:
    from voxelburst.metrics import overlap

    predicted, reference = maps
    expected = np.zeros((3, 3), int)
    for r, p in zip(reference.ravel(), predicted.ravel(), strict=True):
        expected[r, p] += 1
    before, overlap._VOXELS_AT_ONCE = overlap._VOXELS_AT_ONCE, at_once
    try:
        assert (confusion(reference, predicted, 3) == expected).all()
    finally:
        overlap._VOXELS_AT_ONCE = before


def test_scoring_a_mask_of_noise_keeps_to_a_bounded_memory() -> None:
    """What an untrained network gives: nearly every voxel is surface."""
    program = """
import re
from pathlib import Path
import numpy as np
from voxelburst.contract import Label
from voxelburst.metrics import score_case, surfaces
surfaces._POINTS_AT_ONCE = 50_000  # what is taken at once is small beside the volume, as in a large one
# ru_maxrss would be that of the process which started this one.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
rng = np.random.default_rng(0)
labels = [Label(value=v, name=str(v)) for v in range(3)]
small = np.zeros((8, 8, 8), np.uint8)
small[2:5, 2:5, 2:5] = 1
score_case(small, small, labels, (1.0, 1.0, 1.0), 1.0, 1)
predicted = rng.integers(0, 3, (120, 160, 160), np.uint8)
reference = np.zeros_like(predicted)
reference[40:70, 60:120, 50:110] = 1
reference[80:100, 60:100, 50:90] = 2
before = peak()
score_case(predicted, reference, labels, (1.0, 0.8, 0.8), 1.0, 1)
print((peak() - before) * 2**10 / predicted.size)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    bytes_a_voxel = float(ended.stdout)
    assert 0 < bytes_a_voxel < 45
