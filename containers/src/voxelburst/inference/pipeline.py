"""Cases from file to mask: the next ones are loaded and the last ones written while the engine runs.

On a GPU what is between a file's bytes and a mask's happens there: threads decode files and send them on
streams of their own, the engine's stream takes windows of several volumes at a time and makes the masks,
threads fetch and compress those.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from .. import host
from ..contract import Normalisation
from ..errors import StageError
from ..overlap import in_order
from ..preprocessing import Geometry, Preparation, Prepared, prepare, restore
from .sliding_window import Logits, SlidingWindow

C = TypeVar("C")
W = TypeVar("W")
MaskZyx = npt.NDArray[np.uint8]
# A case of 512x512x400 voxels takes gibibytes in each of the three steps; on processors, where the model
# takes minutes for it, doing them side by side would save seconds.
_LARGE_VOXELS = 1 << 25
# Files decoded and masks written at once beside a GPU: each such thread keeps a core busy.
_MOST_THREADS = 8


@dataclass(frozen=True)
class Outcome(Generic[C, W]):
    """What became of a case: ``written`` is what the writer returned, or ``error`` why it was refused.

    ``seconds`` are those spent on this case from file to mask, waiting for other cases left out.
    """

    case: C
    windows: int = 0
    seconds: float = 0.0
    written: W | None = None
    error: StageError | None = None


@dataclass
class _Loaded(Generic[C]):
    case: C
    geometry: Geometry | None
    seconds: float
    image_cdhw: torch.Tensor | None
    ready: torch.cuda.Event | None = None
    error: StageError | None = None

    def take(self) -> torch.Tensor:
        """The image, which then is the taker's alone: no frame that waits keeps it alive."""
        image_cdhw, self.image_cdhw = self.image_cdhw, None
        assert image_cdhw is not None
        if self.ready:
            here = torch.cuda.current_stream(image_cdhw.device)
            here.wait_event(self.ready)
            image_cdhw.record_stream(here)
        return image_cdhw


def predict(
    window: SlidingWindow,
    cases: Iterable[C],
    load: Callable[[C], Prepared],
    write: Callable[[C, MaskZyx], W],
) -> Iterator[Outcome[C, W]]:
    """Outcomes of the cases; those refused by ``load`` may come before earlier ones that are still running.

    Args:
        load: from the file to arrays on the engine's device, on the current stream; runs in threads of its
            own. A StageError refuses the case.
        write: puts a mask where it belongs; runs in threads of its own.
    """
    on_gpu = window.engine.device.type == "cuda"
    threads = min(_MOST_THREADS, max(1, host.cpus() // 2)) if on_gpu else 1
    streams = _Streams(window.engine.device)
    refused: list[Outcome[C, W]] = []

    def load_one(case: C) -> _Loaded[C]:
        began = time.perf_counter()
        try:
            with streams.own():
                prepared = load(case)
                ready = streams.event()
        except StageError as error:
            return _Loaded(case, None, 0.0, None, error=error)
        seconds = time.perf_counter() - began
        return _Loaded(case, prepared.geometry, seconds, prepared.image_cdhw, ready)

    def volumes(loading: ThreadPoolExecutor) -> Iterator[tuple[_Loaded[C], torch.Tensor]]:
        for loaded in in_order(loading, load_one, cases, threads, lambda one: _alone(window, one.image_cdhw)):
            if loaded.error:
                refused.append(Outcome(loaded.case, error=loaded.error))
                continue
            yield loaded, loaded.take()

    def finish(logits: Logits[_Loaded[C]], mask: torch.Tensor, ready: Any) -> Outcome[C, W]:
        began = time.perf_counter()
        with streams.own():
            if ready:
                ready.synchronize()
            mask_zyx = mask.cpu().numpy()
        written = write(logits.key.case, mask_zyx)
        seconds = logits.key.seconds + time.perf_counter() - began
        seconds += sum(share * window.timings.call_seconds(call) for call, share in logits.shares.items())
        return Outcome(logits.key.case, logits.windows, seconds, written)

    with ThreadPoolExecutor(threads, "load") as loading, ThreadPoolExecutor(threads, "write") as writing:
        writes: deque[Future[Outcome[C, W]]] = deque()
        for logits in window.stream(volumes(loading)):
            at_most = 0 if _alone(window, logits.logits_kdhw[0]) else threads
            geometry = logits.key.geometry
            assert geometry is not None
            mask = restore(logits.logits_kdhw, geometry)
            writes.append(writing.submit(finish, logits.without_volume(), mask, streams.event()))
            del logits, mask
            while len(writes) > at_most:
                yield writes.popleft().result()
            yield from _taken(refused)
        while writes:
            yield writes.popleft().result()
        yield from _taken(refused)


class _Streams:
    """A stream a thread, so that no thread waits for another's work on the GPU. Nothing on the CPU."""

    def __init__(self, where: torch.device) -> None:
        self._where = where
        self._mine = threading.local()

    def own(self) -> contextlib.AbstractContextManager[Any]:
        if self._where.type != "cuda":
            return contextlib.nullcontext()
        if not hasattr(self._mine, "stream"):
            self._mine.stream = torch.cuda.Stream(self._where)
        return torch.cuda.stream(self._mine.stream)

    def event(self) -> torch.cuda.Event | None:
        """That what the current stream has to do is done."""
        return torch.cuda.current_stream(self._where).record_event() if self._where.type == "cuda" else None


def _taken(items: list[Outcome[C, W]]) -> Iterator[Outcome[C, W]]:
    while items:
        yield items.pop(0)


def _alone(window: SlidingWindow, volume: torch.Tensor | None) -> bool:
    large = volume is not None and volume.numel() >= _LARGE_VOXELS
    return large and window.engine.device.type != "cuda"


def warm_up(window: SlidingWindow, channels: int, patch: tuple[int, int, int]) -> None:
    """What only the first case of a process would pay: a GPU's choice of kernels, and their loading."""
    preparation = Preparation(
        transpose=(0, 1, 2), spacing_mm_zyx=(1.0, 1.0, 1.0), normalisation=[Normalisation(scheme="none")]
    )
    engine = window.engine
    if engine.device.type == "cuda":
        prepare(np.ones((1, 4, 4, 4), np.float32), (1.0, 1.0, 1.0), preparation, where=engine.device)
        for _ in range(2):
            engine(torch.zeros(engine.batch, channels, *patch, device=engine.device))
        torch.cuda.synchronize()
