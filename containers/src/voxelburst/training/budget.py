"""A budget in steps, or in minutes that become steps once and stay so."""

from __future__ import annotations

import math

from ..contract import Budget

WARM_UP_STEPS = 3  # allocators, cuDNN's search, compilation: not what a step costs
TIMED_STEPS = 12
TIMED_SECONDS = 5.0  # on a GPU twelve steps are over before its clocks have settled
RESERVE_SECONDS = 3.0  # the last checkpoint and the model folder
POWER = 0.9


class StepBudget:
    """How many steps to train for.

    With minutes, the number is known after some timed steps: until then `total` is None and the learning rate
    is the initial one. `resume` takes the number from a checkpoint, so that it is decided once.
    """

    def __init__(self, budget: Budget) -> None:
        self.total = budget.steps
        self._minutes = budget.minutes
        self._timed_seconds = 0.0
        self._timed_steps = 0

    def resume(self, total: int | None) -> None:
        if total is not None:
            self.total = total

    def observe(self, step: int, seconds: float, elapsed: float) -> bool:
        """Takes the time of a finished step (the first is 0); True when it made the number of steps known.

        elapsed: seconds since the training's process began to train, set-up of the loader included.
        """
        if self.total is not None or step < WARM_UP_STEPS:
            return False
        self._timed_steps += 1
        self._timed_seconds += seconds
        enough = self._timed_steps >= TIMED_STEPS and self._timed_seconds >= TIMED_SECONDS
        # A budget of seconds must not be spent on timing alone.
        if not enough and elapsed < 0.2 * 60 * (self._minutes or 0):
            return False
        left = 60 * (self._minutes or 0) - elapsed - RESERVE_SECONDS
        self.total = step + 1 + max(0, math.floor(left / (self._timed_seconds / self._timed_steps)))
        return True

    def learning_rate(self, step: int, initial: float) -> float:
        """nnU-Net's polynomial schedule, per step: from `initial` to zero over the budget."""
        if self.total is None:
            return initial
        return initial * (1 - min(step, self.total) / self.total) ** POWER
