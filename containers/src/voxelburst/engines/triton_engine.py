"""`triton`: the plain U-Net on our own kernels, in fp16 or with 8 bits between the convolutions, on one GPU.

Its file holds the tilings that were fastest on this kind of GPU and, for 8 bits, the amplitudes of the
activations on training cases. The kernels themselves stay in Triton's own cache.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import host
from ..contract import EngineFile
from ..errors import StageError
from .engine import Engine, Site, device, engine_file, unavailable, windows_a_call
from .unet_weights import read_unet, unet_of

NAME = "triton"
# As models.WEIGHTS_FILE, which cannot be had without importing MONAI.
WEIGHTS_FILE = "weights.pt"
_CALIBRATION_WINDOWS = 32
_CAPABILITY = (8, 9)  # FP8 in the tensor cores
# A layer below this share of the operations keeps the default tiling: measuring it costs more than it gives.
_WORTH_MEASURING = 0.02
_TIMES = 5


def missing(where: torch.device) -> StageError | None:
    if where.type != "cuda":
        return unavailable(NAME, "it needs an NVIDIA GPU", "Use the engine onnxruntime on a CPU.")
    try:
        import triton  # noqa: F401
    except ImportError:
        return unavailable(NAME, "Triton is not installed", "Install PyTorch with its Triton package.")
    if torch.cuda.get_device_capability(where) < _CAPABILITY:
        return unavailable(
            NAME, "this GPU is older than compute capability 8.9", "Use the engine inductor or tensorrt."
        )
    return None


def precisions(_where: torch.device) -> tuple[str, ...]:
    """Eight bits run at twice the rate of sixteen; compile falls back where they fail the parity gate."""
    return ("int8", "fp16")


def all_precisions(_where: torch.device) -> tuple[str, ...]:
    return ("int8", "fp8", "fp16")


def make(model: nn.Module, site: Site, precision: str, calibration: Any) -> EngineFile:
    """Measures tilings on this GPU and, for 8 bits, amplitudes on calibration windows."""
    from . import unet_program
    from .unet_program import Program

    if site.network.model != "unet3d":
        raise unavailable(
            NAME, "its kernels are of the model unet3d alone", "Use the engine inductor or tensorrt."
        )
    unet = unet_of(model.state_dict(), site.network.strides)
    why = unet_program.unsupported(unet, precision)
    if why:
        raise unavailable(NAME, why, "Use the engine inductor or tensorrt for this network.")
    where = device()
    batch = windows_a_call(site, where)
    scales = None
    if precision != "fp16":
        some = list(itertools.islice(calibration(), _CALIBRATION_WINDOWS))
        wide = Program(unet, site.patch, min(batch, len(some)), "fp16", where)
        scales = wide.amplitudes(_batches(some, wide.batch))
        del wide
    program = Program(unet, site.patch, batch, precision, where, scales)
    tilings = measured_tilings(program)
    name = file_of(precision)
    document = {
        "gpu": torch.cuda.get_device_name(where),
        "torch": torch.__version__,
        "batch": batch,
        "tilings": {key: dataclasses.asdict(tiling) for key, tiling in tilings.items()},
        "amplitudes": {name: values.tolist() for name, values in (scales or {}).items()},
    }
    (site.folder / name).write_text(json.dumps(document))
    return EngineFile(engine=NAME, precision=precision, file=name)


def _batches(windows: list[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(windows), size):
        yield torch.stack(windows[start : start + size])


def file_of(precision: str) -> str:
    return f"triton.{precision}.json"


def measured_tilings(program: Any, seconds: list[tuple[str, Any, float]] | None = None) -> dict[str, Any]:
    """The fastest candidate of each convolution that matters; ``seconds`` collects what was measured."""
    whole = sum(program.operations.values())
    launches = dict(program.steps)
    worth = [
        (key, candidates)
        for key, candidates in program.tunable()
        if program.operations[program.keys[key]] >= _WORTH_MEASURING * whole
    ]
    program.compile([(key, tiling) for key, candidates in worth for tiling in candidates], host.cpus())
    chosen = {}
    program.windows_ncdhw.normal_()
    program.run(program.batch)
    for key, candidates in worth:
        step = program.keys[key]
        best = None
        for tiling in candidates:
            program.with_tilings({key: tiling})
            took = _seconds_of(launches[step], program.batch)
            if seconds is not None:
                seconds.append((key, tiling, took))
            if best is None or took < best[0]:
                best = (took, tiling)
        assert best is not None
        if best[0] == float("inf"):
            raise StageError(
                "EngineBuildFailed",
                f"Triton cannot compile any tiling of the convolution {key} for this GPU.",
                "Name another engine in `engines`, or try another version of Triton.",
                field="engine",
                got=NAME,
            )
        chosen[key] = best[1]
        program.with_tilings({key: best[1]})
    return chosen


def _seconds_of(launch: Any, samples: int) -> float:
    """The median of a few launches; infinite for a tiling that this GPU or compiler cannot have."""
    from triton.errors import TritonError

    times = []
    try:
        for _ in range(_TIMES + 2):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            launch(samples)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
    except (TritonError, RuntimeError):
        return float("inf")
    return statistics.median(times[2:])


def load(site: Site, entry: EngineFile) -> Engine:
    return TritonEngine(site, entry)


class TritonEngine(Engine):
    """Replays a CUDA graph of the program, one a number of windows (powers of two, and the whole batch)."""

    packages = ("torch", "triton")

    def __init__(self, site: Site, entry: EngineFile) -> None:
        from .unet_program import Program
        from .unet_tilings import Tiling

        self.name = NAME
        self.precision = entry.precision
        self.device = device()
        path: Path = engine_file(site.folder, entry)
        document = json.loads(path.read_text())
        self.batch = min(int(document["batch"]), windows_a_call(site, self.device))
        scales = {name: torch.tensor(values) for name, values in document["amplitudes"].items()}
        tilings = {key: Tiling(**values) for key, values in document["tilings"].items()}
        unet = read_unet(site.folder / WEIGHTS_FILE, site.network)
        self._program = Program(unet, site.patch, self.batch, entry.precision, self.device, scales, tilings)
        if torch.cuda.get_device_name(self.device) != document["gpu"]:
            self.fallbacks = (f"The tilings of this engine were measured on {document['gpu']}.",)
        self._program.compile([], host.cpus())
        # Loads what is compiled, which a capture does not allow.
        self._program.run(self.batch)
        torch.cuda.synchronize(self.device)
        sizes = [self.batch, *(1 << n for n in range(self.batch.bit_length()) if 1 << n < self.batch)]
        self._graphs = {samples: self._captured(samples) for samples in sizes}

    def _captured(self, samples: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(torch.cuda.Stream(self.device)):
            # Other threads of this process may go on using the GPU.
            graph.capture_begin(capture_error_mode="thread_local")
            self._program.run(samples)
            graph.capture_end()
        return graph

    @torch.no_grad()
    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        given = len(windows_ncdhw)
        samples = min(self.batch, 1 << (given - 1).bit_length())
        self._program.windows_ncdhw[:given].copy_(windows_ncdhw)
        self._graphs[samples].replay()
        return self._program.logits_nkdhw[:given].clone()
