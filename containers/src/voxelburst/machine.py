"""`python -m voxelburst machine`: what this machine can do, as one JSON object on stdout."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from . import engines, host
from .engines.engine import threads

# A layer in the middle of a U-Net: wide enough to fill the units, small enough for every GPU.
_GPU_SHAPE = (8, 32, 96)
_CPU_SHAPE = (1, 32, 48)
_SECONDS = 1.0


def main(_argv: list[str]) -> int:
    print(json.dumps(describe(), indent=1))
    return 0


def describe() -> dict[str, Any]:
    """gpus, gpuName and gpuMemoryGiB where there is one, cpus, memoryGiB, bf16, convGflops and how it was
    measured, engines and what each other one lacks, versions."""
    where = engines.device()
    gpus = torch.cuda.device_count() if where.type == "cuda" else 0
    bf16 = native_bf16(where)
    answer: dict[str, Any] = {"gpus": gpus}
    if gpus:
        properties = torch.cuda.get_device_properties(where)
        answer["gpuName"] = properties.name
        answer["gpuMemoryGiB"] = round(properties.total_memory / 2**30, 1)
    packages = ("torch", "monai", "nvidia-dali-cuda130", "onnx", "onnxruntime")
    dtype = torch.bfloat16 if bf16 else torch.float32
    return {
        **answer,
        "cpuName": host.processor_name(),
        "cpus": host.cpus(),
        "memoryGiB": round(memory_gib(), 1),
        "bf16": bf16,
        **conv_gflops(where, dtype),
        "engines": engines.available(where),
        "missing": {
            name: lacks.message
            for name in engines.NAMES
            if (lacks := engines.missing(name, where)) is not None
        },
        "versions": host.describe(packages, gpus=gpus).versions,
    }


def native_bf16(where: torch.device) -> bool:
    """Whether bf16 convolutions are native: emulated they are many times slower than fp32."""
    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def memory_gib() -> float:
    """Of this machine, or of the container that limits it (cgroup 2 or 1)."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = Path(path).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total / 2**30


@torch.no_grad()
def conv_gflops(where: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The best rate of 3x3x3 convolutions: other work on the machine can only make one slower.

    Returns:
        convGflops, 1e9 operations a second with a multiply-add as two; convShape, what was convolved.
    """
    on_gpu = where.type == "cuda"
    batch, channels, edge = _GPU_SHAPE if on_gpu else _CPU_SHAPE
    if not on_gpu:
        torch.set_num_threads(threads())
    layer = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False).to(where, dtype)
    volumes_ncdhw = torch.randn(batch, channels, edge, edge, edge, device=where, dtype=dtype)
    if on_gpu:
        layer = layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        volumes_ncdhw = volumes_ncdhw.to(memory_format=torch.channels_last_3d)

    def seconds() -> float:
        began = time.perf_counter()
        layer(volumes_ncdhw)
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(3):
        seconds()
    best = seconds()
    until = time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        best = min(best, seconds())
    operations = 2 * 27 * channels**2 * batch * edge**3
    name = str(dtype).removeprefix("torch.")
    shape = f"{batch} x {channels} -> {channels} channels x {edge}^3, 3x3x3, {name}"
    return {"convGflops": round(operations / best / 1e9, 1), "convShape": shape}
