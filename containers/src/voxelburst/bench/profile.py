"""Where the milliseconds of a training step or of an engine's call go: the GPU's kernels."""

from __future__ import annotations

import contextlib
import gc
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from ..engines import Engine
from ..training.strategy import Strategy, strategy_of
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
    try:
        step_ms, kernels = _kernels_of_step(work, strategy, augmentation)
    finally:
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()
    groups: dict[str, float] = defaultdict(float)
    for kernel in kernels:
        groups[_group(kernel["name"])] += kernel["ms"]
    return {
        "kind": "profile",
        "strategy": name,
        "augmentation": augmentation,
        "precision": strategy.precision,
        "batch": work.batch,
        "patch": list(work.patch),
        "stepMs": round(step_ms, 3),
        "idleMs": round(max(0.0, step_ms - sum(groups.values())), 3),
        "groupsMs": {k: round(v, 3) for k, v in sorted(groups.items(), key=lambda item: -item[1])},
        "kernels": kernels[:40],
    }


def _kernels_of_step(work: Work, strategy: Strategy, augmentation: str) -> tuple[float, list[dict[str, Any]]]:
    take = step_of(work, strategy)
    with contextlib.closing(batches_of(work, strategy, augmentation)) as source:
        return _kernels(work.device, lambda: take(next(source), 0.01))


def engine_profile(work: Work, engine: Engine) -> dict[str, Any]:
    """Milliseconds of an engine's call on a whole batch of windows by kernel, and in which no kernel ran."""
    windows_ncdhw = torch.randn(engine.batch, work.network.input_channels, *work.patch, device=engine.device)
    call_ms, kernels = _kernels(engine.device, lambda: engine(windows_ncdhw))
    return {
        "kind": "profile",
        "engine": engine.name,
        "precision": engine.precision,
        "batch": engine.batch,
        "patch": list(work.patch),
        "stepMs": round(call_ms, 3),
        "idleMs": round(max(0.0, call_ms - sum(kernel["ms"] for kernel in kernels)), 3),
        "kernels": kernels[:60],
    }


def _kernels(device: torch.device, work: Callable[[], Any]) -> tuple[float, list[dict[str, Any]]]:
    """Milliseconds of one `work` by events, and its kernels, the longest first."""
    for _ in range(_WARM_UP):
        work()
    torch.cuda.synchronize(device)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(_STEPS):
            work()
        end.record()
        torch.cuda.synchronize(device)
    found = [
        {
            "name": event.key[:160],
            "ms": round(event.self_device_time_total / 1000 / _STEPS, 4),
            "launches": round(event.count / _STEPS, 1),
        }
        for event in profiler.key_averages()
        if event.device_type == torch.autograd.DeviceType.CUDA and event.self_device_time_total > 0
    ]
    return start.elapsed_time(end) / _STEPS, sorted(found, key=lambda kernel: -float(kernel["ms"]))


def _group(kernel: str) -> str:
    for name, parts in _GROUPS:
        if any(part in kernel for part in parts):
            return name
    return "other"
