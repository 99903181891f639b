"""What a result was measured on: device, processors, versions, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
from pathlib import Path

from .contract import Host


def processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def cpus() -> int:
    """Processors that this process may keep busy: OMP_NUM_THREADS where several share the machine, else all.

    Threads of DALI, of a pool and of loaders count as OpenMP's do: two children on two cores use one each.
    """
    share = re.match(r"[1-9]\d*", os.environ.get("OMP_NUM_THREADS", ""))
    return min(int(share[0]), processors()) if share else processors()


def processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_mib() -> float:
    """The largest resident set of this process or of any of its children that has ended, in MiB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(max(own, children) / 1024, 1)


def process_age_seconds() -> float:
    """Seconds since this process began, with the interpreter's start and the imports (proc(5), field 22)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))


def describe(packages: tuple[str, ...] = (), *, gpus: int = 0, fallbacks: list[str] | None = None) -> Host:
    """The host of a result.

    Args:
        packages: distributions whose versions matter, for example ``("torch", "nvidia-dali-cuda130")``.
        gpus: GPUs used; 0 means that the work was done on the CPU.
        fallbacks: a sentence for each backend that was wanted and is missing.
    """
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    device = processor_name()
    if gpus:
        import torch

        device = torch.cuda.get_device_name(0)
        versions["cuda"] = str(torch.version.cuda)
        versions["cudnn"] = str(torch.backends.cudnn.version())
    return Host(
        backend="cuda" if gpus else "cpu",
        device=device,
        devices=gpus,
        cpus=cpus(),
        versions=versions,
        fallbacks=fallbacks or [],
    )
