"""The picture of a mask: the slice with most of it, turned as radiologists look at it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from voxelburst.inference.preview import PREDICTION_RGB, REFERENCE_RGB, preview_png

SHAPE = (6, 10, 14)


def affine(directions: tuple[int, int, int] = (1, 1, 1), spacing=(1.0, 1.0, 3.0)) -> NDArray[np.float64]:
    """x, y, z voxels along right, anterior, superior, or against them."""
    return np.diag([*np.multiply(directions, spacing), 1.0])


def picture(
    image: NDArray, predicted: NDArray, reference: NDArray | None = None, where: NDArray | None = None
) -> NDArray[np.uint8]:
    where = affine() if where is None else where
    png = preview_png(image, predicted, reference, where)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def mask(*boxes: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        labels[box] = 1
    return labels


def where_is(found: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Mean (row, column) of a colour, as a share of the picture."""
    return np.argwhere((found == colour).all(-1)).mean(0) / found.shape[:2]


def test_shows_the_slice_with_most_of_both_masks() -> None:
    image = np.zeros(SHAPE, np.float32)
    image += np.arange(6)[:, None, None] * 10
    image[:, 0, 0] = 255
    image[:, 0, 1] = -5
    small = mask((slice(1, 2), slice(2, 4), slice(2, 4)))
    large = mask((slice(4, 5), slice(2, 8), slice(2, 8)))
    grey = [np.median(picture(image, small, r)) for r in (None, large)]
    at = [np.median(picture(np.broadcast_to(image[z], SHAPE), small, large)) for z in (1, 4)]
    assert grey == at and grey[0] != grey[1]


@pytest.mark.parametrize("right", [1, -1])
@pytest.mark.parametrize("front", [1, -1])
def test_the_patients_right_is_on_the_left_and_the_front_on_top(right: int, front: int) -> None:
    """However the voxels run, a structure at the right front is in the picture's upper left."""
    x = slice(10, 13) if right > 0 else slice(1, 4)
    y = slice(7, 9) if front > 0 else slice(1, 3)
    found = picture(
        np.random.default_rng(0).random(SHAPE), mask((slice(3, 4), y, x)), None, affine((right, front, 1))
    )
    row, column = where_is(found, PREDICTION_RGB)
    assert row < 0.5 and column < 0.5


def test_slices_from_the_side_have_the_head_on_top_and_the_nose_on_the_left() -> None:
    # x is the coarse axis: sagittal slices. The structure is high and in front.
    found = picture(
        np.random.default_rng(0).random(SHAPE),
        mask((slice(4, 6), slice(7, 9), slice(5, 6))),
        None,
        affine((1, 1, 1), (4.0, 1.0, 1.0)),
    )
    row, column = where_is(found, PREDICTION_RGB)
    assert row < 0.5 and column < 0.5
    assert found.shape[:2] == (288, 480)


def test_pixels_are_square_in_millimetres() -> None:
    # 10 voxels of 2 mm by 14 of 0.5 mm: 20 x 7 mm.
    where = affine((1, 1, 1), (0.5, 2.0, 5.0))
    found = picture(np.random.default_rng(0).random(SHAPE), mask(), None, where)
    assert found.shape[:2] == (480, 168)


def test_equal_masks_show_both_lines_and_a_missing_reference_only_one() -> None:
    image = np.random.default_rng(0).random(SHAPE)
    labels = mask((slice(2, 4), slice(3, 7), slice(4, 10)))
    both = picture(image, labels, labels)
    assert (both == REFERENCE_RGB).all(-1).any() and (both == PREDICTION_RGB).all(-1).any()
    alone = picture(image, labels)
    assert not (alone == REFERENCE_RGB).all(-1).any()


def test_classes_that_touch_are_outlined_apart() -> None:
    labels = mask((slice(2, 4), slice(2, 8), slice(2, 7)))
    labels[2:4, 2:8, 7:12] = 2
    one = mask((slice(2, 4), slice(2, 8), slice(2, 12)))
    image = np.random.default_rng(0).random(SHAPE)
    lines = [(picture(image, m) == PREDICTION_RGB).all(-1).sum() for m in (labels, one)]
    assert lines[0] > lines[1] * 1.2


def test_a_case_without_any_structure_shows_its_middle() -> None:
    image = np.random.default_rng(0).random(SHAPE)
    found = picture(image, mask())
    assert np.array_equal(found, picture(np.broadcast_to(image[3], SHAPE), mask()))


def test_one_voxel_in_depth_and_one_grey_value_are_drawn_too() -> None:
    flat = np.zeros((1, 8, 8), np.int16)
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[0, :, :] = 1
    assert picture(flat, labels, labels).shape[:2] == (480, 480)
