"""Share of the time in which the GPU ran a kernel, as NVML samples it."""

from __future__ import annotations

import threading
from types import TracebackType

import torch

_SECONDS_BETWEEN = 0.5


class GpuBusy:
    """Samples in a thread while it is entered. `percent` is None where NVML cannot be asked."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._samples: list[int] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GpuBusy:
        if self._device.type == "cuda":
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN):
            try:
                self._samples.append(torch.cuda.utilization(self._device))
            except Exception:  # no NVML binding, or a driver that refuses: not measured
                return

    @property
    def percent(self) -> float | None:
        return round(sum(self._samples) / len(self._samples), 1) if self._samples else None
