"""A budget in steps or minutes, its schedule, and what a step took."""

from __future__ import annotations

import time

import pytest
import torch

from voxelburst.contract import Budget
from voxelburst.training.budget import RESERVE_SECONDS, TIMED_STEPS, WARM_UP_STEPS, StepBudget
from voxelburst.training.clock import WARM_UP_STEPS as CLOCK_WARM_UP
from voxelburst.training.clock import StepClock


def test_steps_are_known_from_the_start_and_win_over_minutes() -> None:
    assert StepBudget(Budget(steps=7)).total == 7
    assert StepBudget(Budget(steps=7, minutes=60)).total == 7


@pytest.mark.parametrize("seconds_a_step", [0.02, 0.4, 2.0])
def test_minutes_become_the_steps_that_fit_into_them(seconds_a_step: float) -> None:
    budget, elapsed, total, step = StepBudget(Budget(minutes=10)), 8.0, None, 0
    while total is None:
        # The first steps compile and allocate: they must not count as the pace.
        seconds = seconds_a_step * (6 if step < WARM_UP_STEPS else 1)
        elapsed += seconds
        total = budget.observe(step, seconds, elapsed, pauses=7)
        step += 1
    assert step >= WARM_UP_STEPS + TIMED_STEPS
    assert elapsed < 0.15 * 600
    end = elapsed + (total - step + 7) * seconds_a_step + RESERVE_SECONDS
    assert 600 - seconds_a_step <= end <= 600.001


def test_a_budget_of_seconds_is_not_spent_on_timing() -> None:
    budget, total, step = StepBudget(Budget(minutes=0.5)), None, 0
    while total is None:
        total = budget.observe(step, 2.0, 2.0 * (step + 1))
        step += 1
    assert step <= 5
    assert 9 <= total <= 13


def test_half_of_the_minutes_are_steps_after_a_compilation_that_took_most_of_them() -> None:
    budget, total, step, elapsed = StepBudget(Budget(minutes=0.6)), None, 0, 0.0
    while total is None:
        seconds = 54.0 if step == 0 else 0.006
        elapsed += seconds
        total = budget.observe(step, seconds, elapsed)
        step += 1
    assert (total - step) * 0.006 == pytest.approx(18, abs=0.01)


def test_minutes_that_are_over_before_they_are_known_train_no_further() -> None:
    assert StepBudget(Budget(minutes=0.01)).observe(WARM_UP_STEPS, 5.0, 20.0) == WARM_UP_STEPS + 1


def test_the_number_of_steps_comes_from_the_checkpoint_once_it_is_there() -> None:
    budget = StepBudget(Budget(minutes=10))
    budget.resume(None)
    assert budget.total is None
    budget.resume(123)
    assert budget.total == 123


def test_the_clock_leaves_out_pauses_and_the_warm_up() -> None:
    clock = StepClock(torch.device("cpu"))
    clock.start()
    for _ in range(CLOCK_WARM_UP + 4):
        time.sleep(0.001)
        clock.step()
    before = clock.collect()
    assert len(before) == CLOCK_WARM_UP + 4
    time.sleep(0.3)
    clock.start()
    clock.step()
    (last,) = clock.collect()
    assert last < 0.3
    assert clock.measured == [*before[CLOCK_WARM_UP:], last]
    assert clock.total == pytest.approx(sum(before) + last)
