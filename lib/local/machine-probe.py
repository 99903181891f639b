"""Says, as one JSON object, what the Python environment can do here: packages, engines, native bf16, conv speed.

Run by lib/local/machine.ts, which keeps the answer until the environment or the machine changes.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "containers" / "pyproject.toml"


def missing_packages() -> list[str]:
    """Packages that the stages need and that are not installed, or whose modules are gone: a run would fail midway."""
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    modules_of: dict[str, list[str]] = {}
    for module, packages in importlib.metadata.packages_distributions().items():
        for package in packages:
            modules_of.setdefault(package, []).append(module)
    names = [re.match(r"[A-Za-z0-9._-]+", requirement)[0] for requirement in requirements]
    return [name for name in names if not all(map(is_there, modules_of.get(name, [name.replace("-", "_")])))]


def is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def imports(name: str) -> bool:
    """A backend is offered only if its import succeeds: a package may lack its libraries."""
    try:
        importlib.import_module(name)
    except Exception:
        return False
    return True


def conv_gflops(torch, device: str, dtype, seconds: float = 1.5) -> float:
    """Best speed of 3x3x3 convolutions of 32 channels, in 1e9 multiply-adds x 2 a second.

    The best of several, since other work on the machine can only make one slower.
    """
    on_gpu = device == "cuda"
    batch, channels, edge = (8, 32, 96) if on_gpu else (1, 32, 48)
    conv = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False).to(device, dtype)
    volume_bczyx = torch.randn(batch, channels, edge, edge, edge, device=device, dtype=dtype)
    if on_gpu:
        volume_bczyx = volume_bczyx.to(memory_format=torch.channels_last_3d)
        conv = conv.to(memory_format=torch.channels_last_3d)
    flop = 2 * 27 * channels * channels * batch * edge**3
    best = float("inf")
    with torch.inference_mode():
        conv(volume_bczyx)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or best == float("inf"):
            if on_gpu:
                torch.cuda.synchronize()
            began = time.perf_counter()
            conv(volume_bczyx)
            if on_gpu:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
    return flop / best / 1e9


def cpu_has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo") as f:
            flags = next((line for line in f if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def main() -> None:
    missing = missing_packages()
    answer: dict = {"python": sys.version.split()[0], "missing": missing, "engines": [], "gpus": []}
    if not missing:
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        answer["gpus"] = [
            {
                "name": torch.cuda.get_device_name(index),
                "memoryGiB": round(torch.cuda.get_device_properties(index).total_memory / 2**30, 1),
            }
            for index in range(gpus)
        ]
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if gpus else cpu_has_bf16()
        dtype = torch.bfloat16 if bf16 else torch.float32
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        answer["bf16"] = bf16
        answer["convGflops"] = round(conv_gflops(torch, "cuda" if gpus else "cpu", dtype), 1)
        answer["torch"] = torch.__version__
        engines = ["torch"]
        compiler = any(shutil.which(name) for name in ("g++", "c++", "clang++"))
        if imports("triton") if gpus else compiler:
            engines.append("inductor")
        if imports("onnxruntime"):
            engines.append("onnxruntime")
        if gpus and imports("tensorrt"):
            engines.append("tensorrt")
        answer["engines"] = engines
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
