"""What an image's parts and its host's driver have to be to each other, checked before a stage starts.

A mismatch otherwise shows as an error deep inside CUDA, minutes later, or as a fallback to the processor.
The image sets VOXELBURST_IMAGE; elsewhere (one's own machine) nothing is checked here.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import paths
from .contract import frozen
from .errors import StageError

Version = tuple[int, ...]

# The least of each that the stages were written for.
_LEAST: dict[str, Version] = {
    "python": (3, 9),
    "torch": (2, 0),
    "cuda": (11, 8),
    "cudnn": (8, 4),
    "dali": (1, 12),
}
_NAMES = {"python": "Python", "torch": "PyTorch", "cuda": "CUDA", "cudnn": "cuDNN", "dali": "DALI"}
# Every toolkit of a CUDA major runs on the first driver of that major (CUDA's release notes, "CUDA Driver";
# CUDA Compatibility, "Minor Version Compatibility"). For 11 that would be 450: 525 is the least supported.
_LEAST_DRIVER: dict[int, Version] = {11: (525,), 12: (525,), 13: (580,)}
_LEAST_DRIVER_OF_ALL: Version = (525,)
# Stages that use no GPU: neither PyTorch nor a driver matters, and their hosts have none.
_WITHOUT_GPU = ("ingest",)


@frozen
class Versions:
    """What is there; None is what is not."""

    python: Version
    torch: Version | None
    cuda: Version | None
    cudnn: Version | None
    nccl: Version | None
    dali: Version | None
    # The CUDA major that DALI's distribution is built for.
    dali_cuda: int | None
    # Of the kernel module; None on a host without a GPU.
    driver: Version | None
    # What libcuda supports: newer than the driver's own where compatibility libraries stand in front of it.
    driver_cuda: Version | None


def check_image(command: str) -> None:
    """Checks the image that this process runs in, once for each container.

    Args:
        command: of `python -m voxelburst`.

    Raises:
        StageError: VersionMismatch, with every pair that does not fit.
    """
    # torchrun's ranks were started by a process that has been here.
    if not os.environ.get("VOXELBURST_IMAGE") or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    if command in _WITHOUT_GPU:
        refuse(_too_old("python", _version(platform.python_version())))
    else:
        refuse(mismatches(installed()))


def checked(stage_name: str, run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A stage's ``run(task, stage)`` behind the check: a refusal is then the stage's error, which the report
    shows, and in a training job SageMaker's failure reason."""

    def run_checked(task: Any, stage: Any) -> Any:
        try:
            check_image(stage_name)
        except StageError as error:
            if paths.in_training_job():
                paths.write_failure(f"{error.code}: {error.message} What to do: {error.remedy}")
            raise
        return run(task, stage)

    return run_checked


def refuse(problems: Iterator[str]) -> None:
    """Raises StageError VersionMismatch when there is any problem."""
    found = list(problems)
    if found:
        raise StageError(
            "VersionMismatch",
            f"The image and its host do not fit each other: {'; '.join(found)}.",
            "Use a host with a newer driver (the AMI of the compute environment, TransformAmiVersion), or an "
            "image built for the host's: containers/images.",
            got=found[0],
        )


def mismatches(versions: Versions) -> Iterator[str]:
    """Every pair that does not fit, as a clause of a sentence."""
    for name in _LEAST:
        yield from _too_old(name, getattr(versions, name))
    if versions.nccl is None:
        yield "PyTorch has no NCCL, which several GPUs need"
    cuda = versions.cuda
    if cuda and versions.dali_cuda is not None and versions.dali_cuda != cuda[0]:
        yield f"DALI is built for CUDA {versions.dali_cuda}, PyTorch for CUDA {_text(cuda)}"
    if cuda and versions.driver:
        yield from _driver_too_old(versions.driver, versions.driver_cuda, cuda)


def _too_old(name: str, found: Version | None) -> Iterator[str]:
    least = _LEAST[name]
    if found is None:
        yield f"{_NAMES[name]} is missing, {_text(least)} or newer is needed"
    elif found < least:
        yield f"{_NAMES[name]} is {_text(found)}, {_text(least)} or newer is needed"


def _driver_too_old(driver: Version, driver_cuda: Version | None, cuda: Version) -> Iterator[str]:
    least = least_driver(cuda)
    if driver < _LEAST_DRIVER_OF_ALL:
        yield f"the driver is {_text(driver)}, {_text(_LEAST_DRIVER_OF_ALL)} or newer is needed"
    elif driver < least and (driver_cuda is None or driver_cuda[0] < cuda[0]):
        yield (
            f"the driver is {_text(driver)}, the image has CUDA {_text(cuda)}, "
            f"which needs driver {_text(least)} or newer, or its compatibility libraries"
        )


def least_driver(cuda: Version) -> Version:
    """The first driver branch of a CUDA major; of one that this table does not know yet, the newest known."""
    return _LEAST_DRIVER.get(cuda[0], max(_LEAST_DRIVER.values()) if cuda[0] > 11 else _LEAST_DRIVER_OF_ALL)


def installed() -> Versions:
    """Reads the versions of this process's libraries and of the host's driver."""
    dali, dali_cuda = _dali()
    torch = cuda = cudnn = nccl = None
    try:
        import torch as library
    except ImportError:
        pass
    else:
        torch = _version(library.__version__)
        cuda = _version(library.version.cuda) if library.version.cuda else None
        cudnn = _cudnn(library.backends.cudnn.version())
        if library.distributed.is_available() and library.distributed.is_nccl_available():
            nccl = tuple(library.cuda.nccl.version())
    return Versions(
        python=_version(platform.python_version()),
        torch=torch,
        cuda=cuda,
        cudnn=cudnn,
        nccl=nccl,
        dali=dali,
        dali_cuda=dali_cuda,
        driver=driver_version(),
        driver_cuda=_driver_cuda(),
    )


def _dali() -> tuple[Version | None, int | None]:
    """Of whichever of DALI's distributions is installed: nvidia-dali-cuda130 is built for CUDA 13."""
    for distribution in importlib.metadata.distributions():
        match = re.fullmatch(r"nvidia-dali-cuda(\d+)0", distribution.metadata["Name"] or "")
        if match:
            return _version(distribution.version), int(match[1])
    return None, None


def _cudnn(number: int | None) -> Version | None:
    """91900 is 9.19.0; before 9 the digits were fewer: 8902 is 8.9.2."""
    if number is None:
        return None
    if number >= 90_000:
        return number // 10_000, number // 100 % 100, number % 100
    return number // 1000, number // 100 % 10, number % 100


def driver_version(proc: Path = Path("/proc/driver/nvidia/version")) -> Version | None:
    """Of the kernel module, as it says itself; open and proprietary ones word it differently."""
    try:
        text = proc.read_text()
    except OSError:
        return None
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    return _version(match[1]) if match else None


def _driver_cuda() -> Version | None:
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int()
    # 0 is CUDA_SUCCESS. 13020 is 13.2.
    if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _version(text: str) -> Version:
    """The leading numbers: 2.11.0a0+a6c236b9fd.nv26.03 is (2, 11, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    if not match:
        raise StageError(
            "VersionUnreadable", f"The version {text!r} is none.", "Rebuild the image.", got=text
        )
    return tuple(int(part) for part in match[0].split("."))


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)
