"""Positions in, an affine out: what holds for every orientation, spacing and order of slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from voxelburst.dicom.stacking import groups_at_one_place, majority_orientation, stack
from voxelburst.volumes import Refusal, geometry

angles = st.tuples(*[st.floats(-180, 180)] * 3)
millimetres = st.floats(0.2, 6)
origins = st.tuples(*[st.floats(-500, 500)] * 3)


def series(
    angle: tuple[float, ...], origin: tuple[float, ...], distance: float, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(positions, row, column) of slices stacked along the normal of a turned plane."""
    row, column, normal = Rotation.from_euler("xyz", angle, degrees=True).as_matrix().T
    positions = np.array(origin) + np.outer(np.arange(count), normal) * distance
    return positions, row, column


@settings(max_examples=60, deadline=None)
@given(angles, origins, millimetres, millimetres, millimetres, st.integers(4, 40), st.randoms())
def test_any_order_of_slices_gives_the_same_grid_in_the_right_place(
    angle: tuple[float, ...],
    origin: tuple[float, ...],
    distance: float,
    between_rows: float,
    between_columns: float,
    count: int,
    random: object,
) -> None:
    positions, row, column = series(angle, origin, distance, count)
    order = list(range(count))
    random.shuffle(order)  # type: ignore[attr-defined]
    grid = stack(positions[order], row, column, (between_rows, between_columns), 0.0)
    assert [order[i] for i in grid.order] == list(range(count))
    # The voxel (x, y, z) lies where DICOM's own equation (PS3.3 C.7.6.2.1.1) puts it, in RAS.
    for x, y, z in ((0, 0, 0), (7, 0, 0), (0, 5, 0), (3, 2, count - 1)):
        lps = positions[z] + row * between_columns * x + column * between_rows * y
        assert np.allclose(grid.affine @ [x, y, z, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-6)
    assert geometry.orthonormal_error(grid.affine) < 1e-9
    assert np.linalg.det(grid.affine) > 0


@settings(max_examples=60, deadline=None)
@given(angles, millimetres, st.integers(5, 30), st.data())
def test_a_gap_anywhere_is_found(
    angle: tuple[float, ...], distance: float, count: int, data: st.DataObject
) -> None:
    positions, row, column = series(angle, (0, 0, 0), distance, count)
    lost = data.draw(st.integers(1, count - 2))
    with pytest.raises(Refusal) as caught:
        stack(np.delete(positions, lost, axis=0), row, column, (1, 1), 0.0)
    assert caught.value.code == "SlicesMissing"
    assert f"1 of {count}" in caught.value.message


@settings(max_examples=60, deadline=None)
@given(angles, millimetres, st.floats(0.5, 30), st.integers(4, 30))
def test_a_tilt_is_found_and_measured(
    angle: tuple[float, ...], distance: float, degrees: float, count: int
) -> None:
    positions, row, column = series(angle, (0, 0, 0), distance, count)
    normal = np.cross(row, column)
    along = positions @ normal
    tilted = positions + np.outer(along, column) * np.tan(np.radians(degrees))
    drift = np.tan(np.radians(degrees)) * distance * (count - 1)
    assume(drift > 0.3)  # less is a fraction of a pixel: jitter
    with pytest.raises(Refusal) as caught:
        stack(tilted, row, column, (1, 1), 0.0)
    assert caught.value.code == "GantryTilt"
    assert caught.value.got.startswith(f"{degrees:.2f}")


@settings(max_examples=60, deadline=None)
@given(angles, st.floats(1, 6), st.integers(4, 40), st.integers(0, 2**31), st.integers(2, 4))
def test_positions_rounded_to_so_many_digits_are_let_through(
    angle: tuple[float, ...], distance: float, count: int, seed: int, digits: int
) -> None:
    positions, row, column = series(angle, (12.3456, -78.9012, 3.3333), distance, count)
    jittered = np.round(positions + np.random.default_rng(seed).normal(0, 1e-5, positions.shape), digits)
    grid = stack(jittered, row, column, (0.7, 0.7), 0.5 * 10.0**-digits)
    exact = stack(positions, row, column, (0.7, 0.7), 0.0)
    assert geometry.corner_shift_voxels(exact.affine, grid.affine, (2, 2, count)) < 0.05
    assert geometry.orthonormal_error(grid.affine) <= geometry.TOLERANCE_ORTHONORMAL


@settings(max_examples=40, deadline=None)
@given(st.floats(1.03, 1.4), st.integers(6, 30), st.data())
def test_an_uneven_distance_is_refused(stretch: float, count: int, data: st.DataObject) -> None:
    positions, row, column = series((0, 0, 0), (0, 0, 0), 2.0, count)
    where = data.draw(st.integers(1, count - 2))
    positions[where:, 2] += 2.0 * (stretch - 1)
    with pytest.raises(Refusal) as caught:
        stack(positions, row, column, (1, 1), 0.0)
    assert caught.value.code == "SliceSpacingUneven"


def test_whole_millimetres_are_no_excuse_for_a_gap_of_twice_the_distance() -> None:
    positions = np.array([[0, 0, z] for z in (0, 1, 2, 4, 5)], float)
    with pytest.raises(Refusal) as caught:
        stack(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1, 1), 0.5)
    assert caught.value.code == "SlicesMissing"


def test_slices_at_one_place_are_grouped_along_the_normal() -> None:
    assert groups_at_one_place(np.array([4.0, 0, 2, 0.001, 4]), 1.0) == [[1, 3], [2], [0, 4]]


def test_a_few_slices_of_another_orientation_are_left_out() -> None:
    axial, sagittal = [1.0, 0, 0, 0, 1, 0], [0.0, 1, 0, 0, 0, -1]
    assert majority_orientation(np.array([sagittal, *[axial] * 9, sagittal])) == list(range(1, 10))
    with pytest.raises(Refusal):
        majority_orientation(np.array([*[sagittal] * 4, *[axial] * 20]))
