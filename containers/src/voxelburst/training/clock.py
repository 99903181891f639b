"""How long steps take, without making a GPU wait for the question."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

WARM_UP_STEPS = 10  # of each process, which no rate is taken from: compilation, allocators, cuDNN's search


class StepClock:
    """Times of steps from one's end to the next one's end, pauses left out.

    On a GPU they are taken on its own time line: a step is as long as the GPU worked or waited for its data.

    measured: seconds of the steps after the warm-up of this process; total: seconds of all of its steps.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[torch.cuda.Event | float] = []
        self._warm = 0
        self.measured: list[float] = []
        self.total = 0.0

    def start(self) -> None:
        """Steps begin, at the start or after a pause."""
        self._marks = [self._now()]

    def step(self) -> None:
        """A step was issued."""
        self._marks.append(self._now())

    def collect(self) -> list[float]:
        """Seconds of each step since the last collection. Waits for the GPU."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = [_between(a, b) for a, b in zip(self._marks, self._marks[1:], strict=False)]
        self._marks = self._marks[-1:]
        self.total += sum(seconds)
        for value in seconds:
            self._warm += 1
            if self._warm > WARM_UP_STEPS:
                self.measured.append(value)
        return seconds

    def _now(self) -> torch.cuda.Event | float:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def _between(a: torch.cuda.Event | float, b: torch.cuda.Event | float) -> float:
    if isinstance(a, torch.cuda.Event) and isinstance(b, torch.cuda.Event):
        return a.elapsed_time(b) / 1000
    assert isinstance(a, float) and isinstance(b, float)
    return b - a


def of_first_rank(values: list[float], device: torch.device) -> list[float]:
    """The first rank's values in every rank, whose clocks differ; as they are where there is one process."""
    if not dist.is_initialized():
        return values
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    found: list[float] = shared.tolist()
    return found
