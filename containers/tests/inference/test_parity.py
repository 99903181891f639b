"""The parity gate lets equal masks through and refuses worse ones, by the mean, by a class and by a case."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from voxelburst.contract import Parity
from voxelburst.engines import Engine, parity
from voxelburst.engines.parity import ParityCase
from voxelburst.errors import StageError

PATCH = (8, 8, 8)


class Labels(Engine):
    """Reads the classes off the image: class k where the image says k, after ``change`` has had its way."""

    name, precision = "labels", "fp32"

    def __init__(self, change=lambda image: image) -> None:
        self.device = torch.device("cpu")
        self.batch = 2
        self.change = change
        self.windows = 0

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        self.windows += len(windows_ncdhw)
        image = self.change(windows_ncdhw.clone())
        return torch.cat([-((image - k) ** 2) for k in range(3)], 1)


def case(number: int, shape=(12, 12, 12)) -> ParityCase:
    label = np.zeros(shape, np.int8)
    label[2:7, 2:7, 2:7] = 1
    label[7:11, 7:11, 7:11] = 2
    return ParityCase(f"case-{number}", label[None].astype(np.float32), label)


def compared(change, cases: int = 10) -> Parity:
    return parity.compare(Labels(), Labels(change), [case(i) for i in range(cases)], PATCH, 3)


def test_equal_engines_pass() -> None:
    found = compared(lambda image: image, cases=3)
    assert found.passed
    assert (found.cases, found.mean_dice_fp32, found.mean_dice_engine) == (3, 1.0, 1.0)
    assert (found.largest_logit_difference, found.argmax_agreement) == (0.0, 1.0)
    parity.refuse(found)


def test_the_largest_difference_and_the_agreement_are_those_of_the_windows() -> None:
    def shifted(image: torch.Tensor) -> torch.Tensor:
        image[:, :, 0, 0, 0] += 3.0
        return image

    found = compared(shifted, cases=2)
    # In the window that begins in class 1: (4 - 0)^2 for background's logit, which was (1 - 0)^2.
    assert found.largest_logit_difference == pytest.approx(15.0)
    # One voxel of 512 in each window.
    assert 1 - 1.5 / 512 < found.argmax_agreement < 1 - 0.5 / 512


def test_a_class_that_is_lost_is_refused() -> None:
    def without_2(image: torch.Tensor) -> torch.Tensor:
        image[image == 2] = 0
        return image

    found = compared(without_2)
    assert not found.passed
    assert found.mean_dice_engine == pytest.approx(0.5)
    with pytest.raises(StageError) as refused:
        parity.refuse(found)
    assert refused.value.code == "ParityFailed"
    assert refused.value.allowed == parity.RULE


def test_a_class_may_not_fall_where_another_makes_up_for_it() -> None:
    """The mean rises: class 2 gets better by more than class 1 gets worse."""

    def worse(image: torch.Tensor) -> torch.Tensor:
        image[image == 2] = 0
        return image

    def other(image: torch.Tensor) -> torch.Tensor:
        image[:, :, :, :, 4:][image[:, :, :, :, 4:] == 1] = 0
        return image

    cases = [case(i) for i in range(3)]
    found = parity.compare(Labels(worse), Labels(other), cases, PATCH, 3)
    assert found.mean_dice_engine > found.mean_dice_fp32
    assert not found.passed


def test_one_case_may_not_collapse_though_the_mean_hardly_moves() -> None:
    first = case(0)
    # An offset that the engine can tell the case by and that changes no class.
    marked = ParityCase("marked", first.image_cdhw + 0.125, first.label_dhw)

    def collapses(image: torch.Tensor) -> torch.Tensor:
        for one in image:
            if (one % 1 == 0.125).any():
                one[:, 2] = 0
        return image

    many = [marked, *[case(i) for i in range(1, 32)]]
    found = parity.compare(Labels(), Labels(collapses), many, (12, 12, 12), 3)
    # A fifth of class 1 is gone in one of 32 cases: 0.11 of its Dice there, 0.0017 of the mean.
    assert found.cases == 32
    assert 0 < found.mean_dice_fp32 - found.mean_dice_engine < parity.LARGEST_FALL_OF_MEAN
    assert not found.passed


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    def broken(image: torch.Tensor) -> torch.Tensor:
        # In the background's far corner, where no mask changes.
        image[:, :, 0, 0, 0] = value
        return image

    assert not compared(broken, cases=1).passed


def test_an_empty_reference_is_no_reason_to_fail_nor_an_invented_structure_to_pass() -> None:
    empty = ParityCase("empty", np.zeros((1, 12, 12, 12), np.float32), np.zeros((12, 12, 12), np.int8))
    assert parity.compare(Labels(), Labels(), [empty], PATCH, 3).mean_dice_fp32 is None
    assert parity.compare(Labels(), Labels(), [empty], PATCH, 3).passed

    def invents(image: torch.Tensor) -> torch.Tensor:
        image[:, :, 3:5] = 1
        return image

    found = parity.compare(Labels(), Labels(invents), [empty, case(1)], PATCH, 3)
    assert not found.passed


def test_large_sets_are_cut_off_at_the_stated_number_of_windows() -> None:
    engine = Labels()
    # 27 windows each at half overlap, but blocks of 1.5 patches: 8.
    cases = (case(i, (16, 16, 16)) for i in range(100))
    found = parity.compare(Labels(), engine, cases, PATCH, 3)
    assert engine.windows == parity.MOST_WINDOWS == 64
    assert found.cases == 8
    small = (case(i, (12, 12, 12)) for i in range(100))
    assert parity.compare(Labels(), Labels(), small, (12, 12, 12), 3).cases == parity.MOST_CASES


def test_a_large_case_is_compared_where_its_foreground_is() -> None:
    label = np.zeros((40, 40, 40), np.int8)
    label[30:36, 1:7, 33:40] = 1
    seen: list[float] = []

    def watch(image: torch.Tensor) -> torch.Tensor:
        seen.append(float((image == 1).sum()))
        return image

    large = ParityCase("large", label[None].astype(np.float32), label)
    found = parity.compare(Labels(), Labels(watch), [large], PATCH, 3)
    assert sum(seen) >= label.sum()
    assert found.mean_dice_fp32 == 1.0


def test_labels_outside_the_nonzero_mask_count_as_background() -> None:
    one = case(0)
    label = one.label_dhw.copy()
    label[0] = -1
    found = parity.compare(Labels(), Labels(), [ParityCase("a", one.image_cdhw, label)], PATCH, 3)
    assert found.mean_dice_fp32 == 1.0
