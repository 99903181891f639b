"""Where the milliseconds of a training step go: the GPU's kernels by what they are for, with loading."""

from __future__ import annotations

import contextlib
import gc
from collections import defaultdict
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from ..training.strategy import strategy_of
from .training_rows import Work, batches_of, step_of

_STEPS = 5
_WARM_UP = 6
# The first that a kernel's name holds decides: our kernels, cuDNN's and cuBLAS's, Inductor's.
_GROUPS = (
    ("optimizer", ("multi_tensor", "FusedSgd", "foreach", "lpnorm")),
    (
        "norm and activation",
        ("moments", "apply_kernel", "small_forward", "small_backward", "gradient", "join_"),
    ),
    ("first convolution", ("_taps", "forward_kernel", "weights_kernel")),
    (
        "augmentation",
        ("sample_kernel", "blur_kernel", "extremes_kernel", "spread_kernel", "curve_kernel", "finish_kernel"),
    ),
    ("Inductor's fused kernels", ("triton_",)),
    (
        "layout changes around cuDNN",
        ("nchwToNhwc", "nhwcToNchw", "transpose", "nhwcAddPadding", "convertTensor"),
    ),
    (
        "convolution",
        (
            "cudnn",
            "xmma",
            "cutlass",
            "implicit",
            "conv",
            "dgrad",
            "wgrad",
            "fprop",
            "gemm",
            "nvjet",
            "sm90",
            "sm80",
        ),
    ),
    ("copies and fills", ("Memcpy", "Memset", "copy", "fill", "CatArray")),
)


def profile_row(work: Work, name: str, augmentation: str) -> dict[str, Any]:
    """Milliseconds of a step by group and by kernel, and in which no kernel ran."""
    strategy = strategy_of(name, work.precision, work.device)
    take = step_of(work, strategy)
    source = batches_of(work, strategy, augmentation)
    try:
        with contextlib.closing(source):
            for _ in range(_WARM_UP):
                take(next(source), 0.01)
            torch.cuda.synchronize(work.device)
            with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                for _ in range(_STEPS):
                    take(next(source), 0.01)
                end.record()
                torch.cuda.synchronize(work.device)
            step_ms = start.elapsed_time(end) / _STEPS
    finally:
        torch.compiler.reset()
        del take
        gc.collect()
        torch.cuda.empty_cache()
    kernels = [
        (event.key, event.self_device_time_total / 1000 / _STEPS, event.count / _STEPS)
        for event in profiler.key_averages()
        if event.device_type == torch.autograd.DeviceType.CUDA and event.self_device_time_total > 0
    ]
    groups: dict[str, float] = defaultdict(float)
    for kernel, milliseconds, _ in kernels:
        groups[_group(kernel)] += milliseconds
    busy = sum(groups.values())
    return {
        "kind": "profile",
        "strategy": name,
        "augmentation": augmentation,
        "precision": strategy.precision,
        "batch": work.batch,
        "patch": list(work.patch),
        "stepMs": round(step_ms, 3),
        "idleMs": round(max(0.0, step_ms - busy), 3),
        "groupsMs": {k: round(v, 3) for k, v in sorted(groups.items(), key=lambda item: -item[1])},
        "kernels": [
            {"name": kernel[:160], "ms": round(milliseconds, 4), "launches": round(count, 1)}
            for kernel, milliseconds, count in sorted(kernels, key=lambda k: -k[1])[:40]
        ],
    }


def _group(kernel: str) -> str:
    for name, parts in _GROUPS:
        if any(part in kernel for part in parts):
            return name
    return "other"
