"""Share of the time in which the GPU ran a kernel, and the power it drew, as NVML samples them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from types import TracebackType

import torch

_SECONDS_BETWEEN = 0.25


class GpuBusy:
    """Samples in a thread while it is entered. `percent` and `watts` are None where NVML cannot be asked."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._samples: list[int] = []
        self._milliwatts: list[int] = []
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
        try:
            gpu = _Nvml(self._device)
        except (OSError, RuntimeError):  # no driver library, or one that refuses: not measured
            return
        while not self._stop.wait(_SECONDS_BETWEEN):
            value = gpu.busy_percent()
            if value is None:
                return
            self._samples.append(value)
            drawn = gpu.milliwatts()
            if drawn is not None:
                self._milliwatts.append(drawn)

    @property
    def percent(self) -> float | None:
        return _mean(self._samples)

    @property
    def watts(self) -> float | None:
        return _mean([value / 1000 for value in self._milliwatts])


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Nvml:
    """The driver's own library: torch.cuda.utilization needs a Python package for it that PyTorch lacks."""

    def __init__(self, device: torch.device) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._handle = ctypes.c_void_p()
        # By UUID: NVML counts all GPUs, CUDA_VISIBLE_DEVICES hides some from PyTorch.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        if self._library.nvmlInit_v2() != 0:
            raise RuntimeError("NVML does not start")
        if self._library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(self._handle)) != 0:
            raise RuntimeError("NVML does not know this GPU")

    def busy_percent(self) -> int | None:
        found = _Utilization()
        code = self._library.nvmlDeviceGetUtilizationRates(self._handle, ctypes.byref(found))
        return int(found.gpu) if code == 0 else None

    def milliwatts(self) -> int | None:
        found = ctypes.c_uint()
        code = self._library.nvmlDeviceGetPowerUsage(self._handle, ctypes.byref(found))
        return int(found.value) if code == 0 else None
