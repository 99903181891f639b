"""`python -m voxelburst machine`: what this machine can do, as one JSON object on stdout.

torch and what needs it are imported late: a package that is missing must be named first, with all others.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import host
from .errors import StageError

if TYPE_CHECKING:
    import torch

# Of the checkout; an image has none, and its build has imported every package.
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

# A layer in the middle of a U-Net: wide enough to fill the units, small enough for every GPU.
_GPU_SHAPE = (8, 32, 96)
_CPU_SHAPE = (1, 32, 48)
_SECONDS = 1.0


def main(_argv: list[str]) -> int:
    """Raises: StageError: PythonPackageMissing, naming all that the stages would miss midway."""
    if missing := missing_packages():
        several = len(missing) > 1
        raise StageError(
            "PythonPackageMissing",
            f"The Python package{'s' if several else ''} {', '.join(missing)} {'are' if several else 'is'} "
            "not installed in this environment.",
            "Remove .venv and run `npm run setup` in the checkout.",
            got=", ".join(missing),
        )
    print(json.dumps(describe()))
    return 0


def missing_packages() -> list[str]:
    """Packages that the stages need and that are not installed, or whose modules are gone."""
    if not PYPROJECT.exists():
        return []
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    modules_of: dict[str, list[str]] = {}
    for module, packages in importlib.metadata.packages_distributions().items():
        for package in packages:
            modules_of.setdefault(package, []).append(module)
    names = [re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements]
    return [n for n in names if not all(map(_is_there, modules_of.get(n, [n.replace("-", "_")])))]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def describe() -> dict[str, Any]:
    """gpus, gpuName and gpuMemoryGiB where there is one, cpus, memoryGiB, bf16, convGflops and how it was
    measured, engines and what each other one lacks, versions."""
    import torch

    from . import engines

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
        "cpus": host.processors(),
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
        import torch

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


def conv_gflops(where: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The best rate of 3x3x3 convolutions: other work on the machine can only make one slower.

    Returns:
        convGflops, 1e9 operations a second with a multiply-add as two; convShape, what was convolved.
    """
    import torch

    on_gpu = where.type == "cuda"
    batch, channels, edge = _GPU_SHAPE if on_gpu else _CPU_SHAPE
    if not on_gpu:
        torch.set_num_threads(host.processors())
    layer = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False).to(where, dtype)
    volumes_ncdhw = torch.randn(batch, channels, edge, edge, edge, device=where, dtype=dtype)
    if on_gpu:
        layer = layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        volumes_ncdhw = volumes_ncdhw.to(memory_format=torch.channels_last_3d)

    def seconds() -> float:
        began = time.perf_counter()
        with torch.no_grad():
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
