"""Logits of volumes by an engine, its windows batched across volumes.

Axes: n window, c channel, k class, d h w space in the arrays' order.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from ..contract import InferSettings, Zyx
from ..engines import Engine
from .windows import WindowGrid, window_grid

Key = TypeVar("Key")
_Events = tuple[torch.cuda.Event, torch.cuda.Event]


class Timings:
    """How long the model's calls took, mirrored passes included; on a GPU by its own clock."""

    def __init__(self) -> None:
        self.windows = 0
        self._calls: list[float | _Events] = []

    def call_seconds(self, index: int) -> float:
        """Of one call; waits for it on a GPU."""
        call = self._calls[index]
        if not isinstance(call, float):
            start, end = call
            end.synchronize()
            self._calls[index] = call = start.elapsed_time(end) / 1e3
        return call

    def all_seconds(self) -> list[float]:
        return [self.call_seconds(index) for index in range(len(self._calls))]

    def add(self, call: float | _Events, windows: int) -> int:
        """The index of the call."""
        self.windows += windows
        self._calls.append(call)
        return len(self._calls) - 1


@dataclass
class _Volume(Generic[Key]):
    key: Key
    image_cdhw: torch.Tensor
    grid: WindowGrid
    left: int
    shares: dict[int, float] = field(default_factory=dict)
    logits_kdhw: torch.Tensor | None = None


@dataclass(frozen=True)
class Logits(Generic[Key]):
    """A volume's logits_kdhw, float32 on the engine's device, in the arrays' grid.

    ``shares`` are the calls of the model that it had windows in, and which part of each was its own.
    """

    key: Key
    logits_kdhw: torch.Tensor
    windows: int
    shares: dict[int, float]

    def without_volume(self) -> Logits[Key]:
        """For who no longer needs the logits, which then need no memory."""
        return dataclasses.replace(self, logits_kdhw=self.logits_kdhw.new_empty(0))


class SlidingWindow:
    """Runs an engine over volumes.

    Args:
        patch: what the engine was built for.
        settings: overlap, a share of the patch; mirroring, the mean of logits over all eight flips.
        on_windows: told after each call which share of its volumes' windows that was.
    """

    def __init__(
        self,
        engine: Engine,
        patch: Zyx,
        settings: InferSettings,
        on_windows: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.timings = Timings()
        self._patch = patch
        self._overlap = settings.overlap
        self._on_windows = on_windows
        self._flips: list[tuple[int, ...]] = [()]
        if settings.mirroring:
            self._flips = [flip for n in range(4) for flip in itertools.combinations((2, 3, 4), n)]

    def stream(self, volumes: Iterable[tuple[Key, torch.Tensor]]) -> Iterator[Logits[Key]]:
        """Logits of each (key, image_cdhw), in order.

        A batch may hold windows of several volumes, so a volume's last window can wait for the next volume.
        """
        waiting: list[tuple[_Volume[Key], int]] = []
        unfinished: list[_Volume[Key]] = []
        for key, image_cdhw in volumes:
            d, h, w = image_cdhw.shape[1:]
            grid = window_grid((d, h, w), self._patch, self._overlap, self.engine.device)
            volume = _Volume(key, image_cdhw.to(self.engine.device, non_blocking=True), grid, len(grid))
            unfinished.append(volume)
            for index in range(len(grid)):
                waiting.append((volume, index))
                if len(waiting) == self.engine.batch:
                    self._run(waiting)
                    waiting = []
            del volume, image_cdhw
            yield from _finished(unfinished)
        if waiting:
            self._run(waiting)
            waiting = []
        yield from _finished(unfinished)

    def _run(self, batch: list[tuple[_Volume[Key], int]]) -> None:
        windows_ncdhw = torch.stack([volume.grid.cut(volume.image_cdhw, index) for volume, index in batch])
        logits_nkdhw, call = self._timed(windows_ncdhw)
        for (volume, index), window_kdhw in zip(batch, logits_nkdhw, strict=True):
            if volume.logits_kdhw is None:
                shape = (window_kdhw.shape[0], *volume.grid.shape_dhw)
                volume.logits_kdhw = torch.zeros(shape, dtype=torch.float32, device=self.engine.device)
            volume.grid.add(volume.logits_kdhw, index, window_kdhw)
            volume.left -= 1
            volume.shares[call] = volume.shares.get(call, 0.0) + 1 / len(batch)
        self._on_windows(sum(1 / len(volume.grid) for volume, _ in batch))

    def _timed(self, windows_ncdhw: torch.Tensor) -> tuple[torch.Tensor, int]:
        if self.engine.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()  # type: ignore[no-untyped-call]
            logits_nkdhw = self._mirrored(windows_ncdhw)
            end.record()  # type: ignore[no-untyped-call]
            return logits_nkdhw, self.timings.add((start, end), len(windows_ncdhw))
        began = time.perf_counter()
        logits_nkdhw = self._mirrored(windows_ncdhw)
        return logits_nkdhw, self.timings.add(time.perf_counter() - began, len(windows_ncdhw))

    def _mirrored(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for flip in self._flips:
            logits_nkdhw = self.engine(windows_ncdhw.flip(flip) if flip else windows_ncdhw)
            if flip:
                logits_nkdhw = logits_nkdhw.flip(flip)
            total = logits_nkdhw if total is None else total.add_(logits_nkdhw)
        assert total is not None
        return total.div_(len(self._flips)) if len(self._flips) > 1 else total


def _finished(volumes: list[_Volume[Key]]) -> Iterator[Logits[Key]]:
    """Takes the volumes whose windows are all done from the front."""
    while volumes and volumes[0].left == 0:
        yield _logits_of(volumes.pop(0))


def _logits_of(volume: _Volume[Key]) -> Logits[Key]:
    assert volume.logits_kdhw is not None
    return Logits(volume.key, volume.logits_kdhw, len(volume.grid), volume.shares)
