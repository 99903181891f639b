"""DALI, imported when it is first used: its import takes a second, and few processes need it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from . import host


def modules() -> Any:
    """.fn, .types, .math, .pipeline_def: untyped, as DALI makes their members at run time."""
    from nvidia.dali import fn, math, pipeline_def, types

    return SimpleNamespace(fn=fn, math=math, pipeline_def=pipeline_def, types=types)


def device_id() -> int | None:
    """The current GPU, or None: then every operator runs on the CPU."""
    return torch.cuda.current_device() if torch.cuda.is_available() else None


def one_at_a_time(device: int | None) -> dict[str, Any]:
    """Options of a pipeline that holds one case and prefetches none: volumes are large."""
    return {
        "batch_size": 1,
        "num_threads": host.cpus(),
        "device_id": device,
        "exec_pipelined": False,
        "exec_async": False,
        "prefetch_queue_depth": 1,
    }
