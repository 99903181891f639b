"""Cases from file to mask: the next one is loaded and the last one written while the engine runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ..contract import Normalisation
from ..errors import StageError
from ..preprocessing import Geometry, Preparation, Prepared, prepare, restore
from .sliding_window import Logits, SlidingWindow

C = TypeVar("C")
W = TypeVar("W")
MaskZyx = npt.NDArray[np.uint8]
# A case of 512x512x400 voxels takes gibibytes in each of the three steps; on processors, where the model
# takes minutes for it, doing them side by side would save seconds.
_LARGE_VOXELS = 1 << 25


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
    error: StageError | None = None

    def take(self) -> torch.Tensor:
        """The image, which then is the taker's alone: no frame that waits keeps it alive."""
        image_cdhw, self.image_cdhw = self.image_cdhw, None
        assert image_cdhw is not None
        return image_cdhw


def predict(
    window: SlidingWindow,
    cases: Iterable[C],
    load: Callable[[C], Prepared],
    write: Callable[[C, MaskZyx], W],
) -> Iterator[Outcome[C, W]]:
    """Outcomes of the cases; those refused by ``load`` may come before earlier ones that are still running.

    Args:
        load: from the file to arrays; runs in a thread of its own. A StageError refuses the case.
        write: puts a mask where it belongs; runs in a thread of its own.
    """
    refused: list[Outcome[C, W]] = []

    def volumes() -> Iterator[tuple[_Loaded[C], torch.Tensor]]:
        for loaded in _loaded_ahead(loading, cases, load, window):
            if loaded.error:
                refused.append(Outcome(loaded.case, error=loaded.error))
                continue
            yield loaded, loaded.take()

    def finish(logits: Logits[_Loaded[C]]) -> Outcome[C, W]:
        began = time.perf_counter()
        loaded = logits.key
        assert loaded.geometry is not None
        mask_zyx = restore(logits.logits_kdhw, loaded.geometry)
        written = write(loaded.case, mask_zyx)
        seconds = loaded.seconds + time.perf_counter() - began
        seconds += sum(share * window.timings.call_seconds(call) for call, share in logits.shares.items())
        return Outcome(loaded.case, logits.windows, seconds, written)

    with ThreadPoolExecutor(1, "load") as loading, ThreadPoolExecutor(1, "write") as writing:
        writes: deque[Future[Outcome[C, W]]] = deque()
        for logits in window.stream(volumes()):
            at_most = 1 if _side_by_side(window, logits.logits_kdhw[0].numel()) else 0
            writes.append(writing.submit(finish, logits))
            del logits
            while len(writes) > at_most:
                yield writes.popleft().result()
            yield from _taken(refused)
        while writes:
            yield writes.popleft().result()
        yield from _taken(refused)


def _taken(items: list[Outcome[C, W]]) -> Iterator[Outcome[C, W]]:
    while items:
        yield items.pop(0)


def _side_by_side(window: SlidingWindow, voxels: int) -> bool:
    return window.engine.device.type == "cuda" or voxels < _LARGE_VOXELS


def _loaded_ahead(
    loading: ThreadPoolExecutor, cases: Iterable[C], load: Callable[[C], Prepared], window: SlidingWindow
) -> Iterator[_Loaded[C]]:
    """Loads one case ahead, as long as the last one was not large."""

    def one(case: C) -> _Loaded[C]:
        began = time.perf_counter()
        try:
            prepared = load(case)
        except StageError as error:
            return _Loaded(case, None, 0.0, None, error)
        image_cdhw = torch.from_numpy(prepared.image_cdhw)
        return _Loaded(case, prepared.geometry, time.perf_counter() - began, image_cdhw)

    remaining = iter(cases)
    following: Future[_Loaded[C]] | None = None
    for case in remaining:
        following = loading.submit(one, case)
        while following is not None:
            loaded = following.result()
            following = None
            voxels = loaded.image_cdhw.numel() if loaded.image_cdhw is not None else 0
            if _side_by_side(window, voxels):
                ahead = next(remaining, None)
                following = loading.submit(one, ahead) if ahead is not None else None
            yield loaded
            del loaded


def warm_up(window: SlidingWindow, channels: int, patch: tuple[int, int, int]) -> None:
    """What only the first case of a process would pay: DALI's import, and a GPU's choice of kernels."""
    preparation = Preparation(
        transpose=(0, 1, 2), spacing_mm_zyx=(1.0, 1.0, 1.0), normalisation=[Normalisation(scheme="none")]
    )
    prepare(np.ones((1, 4, 4, 4), np.float32), (1.0, 1.0, 1.0), preparation)
    engine = window.engine
    if engine.device.type == "cuda":
        for _ in range(2):
            engine(torch.zeros(engine.batch, channels, *patch, device=engine.device))
        torch.cuda.synchronize()
