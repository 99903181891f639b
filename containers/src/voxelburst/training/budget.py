"""A budget in steps, or in minutes that become steps once and stay so."""

from __future__ import annotations

import math

from ..contract import Budget

WARM_UP_STEPS = 3  # allocators, cuDNN's search, compilation: not what a step costs
TIMED_STEPS = 12
TIMED_SHARE = 0.05  # of the minutes, at least these seconds: a few steps on a shared machine mislead
TIMED_SECONDS = 5.0
LATEST_SHARE = 0.2  # a budget of seconds must not be spent on timing alone
RESERVE_SECONDS = 3.0  # checkpoints and the model folder
LEAST_SHARE = 0.5  # compiling for a GPU takes a minute: what is left of fewer minutes would train nothing


class StepBudget:
    """How many steps to train for.

    With minutes, the number is known after some timed steps: until then `total` is None. `resume` takes it
    from a checkpoint, so that it is decided once. The minutes hold the start too, but half of them are steps
    however long that took.
    """

    def __init__(self, budget: Budget) -> None:
        self.total = budget.steps
        self._budget_seconds = 60 * (budget.minutes or 0)
        self._timed_seconds = 0.0
        self._timed_steps = 0

    def resume(self, total: int | None) -> None:
        if total is not None:
            self.total = total

    def observe(self, step: int, seconds: float, elapsed: float, *, pauses: float = 0.0) -> int | None:
        """Takes the time of a finished step (the first is 0); the number of steps, when it is known by now.

        elapsed: seconds since the stage began. pauses: what else will take time, in steps' worth.
        """
        if step < WARM_UP_STEPS:
            return None
        self._timed_steps += 1
        self._timed_seconds += seconds
        wanted = max(TIMED_SECONDS, TIMED_SHARE * self._budget_seconds)
        enough = self._timed_steps >= TIMED_STEPS and self._timed_seconds >= wanted
        if not enough and elapsed < LATEST_SHARE * self._budget_seconds:
            return None
        left = max(self._budget_seconds - elapsed - RESERVE_SECONDS, LEAST_SHARE * self._budget_seconds)
        more = left / (self._timed_seconds / self._timed_steps) - pauses
        return step + 1 + max(0, math.floor(more))

    def guess(self, step: int, elapsed: float) -> int:
        """Steps of a budget in minutes at the pace so far, for a progress bar alone."""
        return max(step + 1, round(step * self._budget_seconds / max(elapsed, 1e-3)))
