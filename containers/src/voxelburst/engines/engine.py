"""What an engine is: a call from a batch of windows to logits, and what it says of itself.

Axes: n window, c channel, k class, d h w space in the arrays' order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import host
from ..contract import EngineFile, Host, ModelFolder, Network, Zyx
from ..errors import StageError

# performance.md: eight windows of 128^3 saturate an H100; smaller ones go together to as many voxels.
_GPU_VOXELS_A_CALL = 8 * 128**3
_GPU_WINDOWS_A_CALL = 64
# Feature maps of the finest level alive at once: skip, its concatenation, a convolution's in and out.
_FINEST_MAPS_ALIVE = 6


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where an engine is built or loaded: a model folder on this disk, and its network and patch."""

    folder: Path
    network: Network
    patch: Zyx

    @classmethod
    def of(cls, folder: Path, model: ModelFolder) -> Site:
        return cls(folder=folder, network=model.network, patch=model.patch)


class Engine(ABC):
    """A compiled model.

    Attributes:
        name: as in the contracts' engine.
        precision: what most of its arithmetic is done in.
        device: where windows are expected and logits are given.
        batch: windows a call at most.
        packages: distributions whose versions matter to its figures.
        fallbacks: a sentence for each backend that was wanted and is missing here.
    """

    name: str
    precision: str
    device: torch.device
    batch: int
    packages: tuple[str, ...] = ("torch", "monai")
    fallbacks: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        """logits_nkdhw (logits_nk of a network that classifies), float32, not aliased by the next call.

        Args:
            windows_ncdhw: float32 on ``device``, 1 to ``batch`` windows of the patch's size.
        """

    def host(self) -> Host:
        """What the engine's figures were measured on."""
        return host.describe(
            self.packages, gpus=1 if self.device.type == "cuda" else 0, fallbacks=list(self.fallbacks)
        )


def device() -> torch.device:
    """The current GPU, or the CPU."""
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def windows_a_call(site: Site, where: torch.device) -> int:
    """Windows that one call of a model should take, as far as half of a GPU's memory lasts.

    On the CPU one window fills the cores already, and a second one its caches.
    """
    if where.type != "cuda":
        return 1
    d, h, w = site.patch
    voxels = d * h * w
    bytes_a_window = 4 * _FINEST_MAPS_ALIVE * site.network.features[0] * voxels
    fitting = torch.cuda.get_device_properties(where).total_memory // 2 // bytes_a_window
    return max(1, min(_GPU_WINDOWS_A_CALL, _GPU_VOXELS_A_CALL // voxels, fitting))


def logits_shape(network: Network, windows: int, patch: Sequence[int]) -> tuple[int, ...]:
    """Of what a call returns: logits_nkdhw, or logits_nk of a network that classifies."""
    space = () if network.model == "resnet3d" else tuple(patch)
    return (windows, network.output_classes, *space)


def filled(windows_ncdhw: torch.Tensor, batch: int) -> torch.Tensor:
    """A batch of so many windows, with zeros after those given: another shape would be compiled for or, by
    cuDNN's search for algorithms, measured again."""
    given = len(windows_ncdhw)
    if given >= batch:
        return windows_ncdhw
    return torch.cat([windows_ncdhw, windows_ncdhw.new_zeros(batch - given, *windows_ncdhw.shape[1:])])


def engine_file(folder: Path, entry: EngineFile) -> Path:
    """The file of an engine that has one.

    Raises:
        StageError: EngineFileMissing.
    """
    path = folder / (entry.file or "")
    if entry.file is None or not path.is_file():
        raise StageError(
            "EngineFileMissing",
            f"The model folder names the engine {entry.engine} but lacks its file.",
            "Use the folder as compile wrote it, or compile the engine again.",
            field="engines.file",
            got=str(entry.file),
        )
    return path


def unavailable(engine: str, why: str, remedy: str) -> StageError:
    """EngineUnavailable: an engine that cannot run here is named, never replaced."""
    return StageError(
        "EngineUnavailable",
        f"The engine {engine} cannot run here: {why}.",
        remedy,
        field="engine",
        got=engine,
    )
