"""`tensorrt`: TensorRT 10.6 to 11, strongly typed: the precision comes from the ONNX graph.

TensorRT 11 has no other way; 10 has it behind a flag. Written to NVIDIA's documented Python API.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..contract import EngineFile, Host
from ..errors import StageError
from . import onnx_export
from .engine import Engine, Site, device, engine_file, unavailable, windows_a_call

NAME = "tensorrt"
PLAN_FILE = "model.plan"
_PRECISION = "fp16"
# performance.md: level 3 built in 101 s what ran at 168 windows/s.
_BUILDER_LEVEL = 3
_WHERE = (
    "Use NVIDIA's containers (nvcr.io/nvidia/tensorrt), or its libraries with the package "
    "tensorrt-cu12-bindings; otherwise name another engine in `engines`."
)


def missing(where: torch.device) -> StageError | None:
    if where.type != "cuda":
        return unavailable(NAME, "it needs an NVIDIA GPU", "Use the engine onnxruntime on a CPU.")
    try:
        import tensorrt  # noqa: F401
    except ImportError as cause:
        reason = "TensorRT is not installed" if isinstance(cause, ModuleNotFoundError) else str(cause)
        return unavailable(NAME, reason, _WHERE)
    return None


def make(model: nn.Module, site: Site) -> EngineFile:
    """Builds a plan for this GPU from an FP16 graph.

    Raises:
        StageError: EngineBuildFailed, with the parser's or the builder's first reason.
    """
    graph = site.folder / "model.fp16.onnx"
    onnx_export.export(model, site, _PRECISION, graph)
    (site.folder / PLAN_FILE).write_bytes(_built(graph, site))
    return EngineFile(engine=NAME, precision=_PRECISION, file=PLAN_FILE)


def load(site: Site, entry: EngineFile) -> Engine:
    return TensorRtEngine(site, entry)


def _logger() -> Any:
    """Keeps TensorRT's errors, which its calls do not raise."""
    import tensorrt as trt

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(text)

    return Logger()


def _built(graph: Path, site: Site) -> bytes:
    import tensorrt as trt

    logger = _logger()
    builder = trt.Builder(logger)
    # TensorRT 11 types every network strongly and may lack the flag.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    # InstanceNorm as a layer rather than a plugin; said here since its default has changed between versions.
    parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if not parser.parse(graph.read_bytes()):
        reasons = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)] or logger.errors
        raise _failed("its parser refuses the network", reasons)
    config = builder.create_builder_config()
    config.builder_optimization_level = _BUILDER_LEVEL
    profile = builder.create_optimization_profile()
    batch = windows_a_call(site, device())
    window = (site.network.input_channels, *site.patch)
    profile.set_shape(onnx_export.INPUT, (1, *window), (batch, *window), (batch, *window))
    config.add_optimization_profile(profile)
    cache_file = _timing_cache_file(trt.__version__)
    cache = config.create_timing_cache(cache_file.read_bytes() if cache_file.exists() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed("its builder found no implementation", logger.errors)
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    staged = cache_file.with_name(f".write-{os.getpid()}-{cache_file.name}")
    staged.write_bytes(bytes(config.get_timing_cache().serialize()))
    staged.replace(cache_file)
    return bytes(plan)


def _timing_cache_file(version: str) -> Path:
    """Measured kernel times, for the next build with this TensorRT on this kind of GPU."""
    root = Path(os.environ.get("VOXELBURST_SCRATCH") or tempfile.gettempdir())
    kind = f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()} {version}"
    return root / "voxelburst" / f"tensorrt-{hashlib.sha256(kind.encode()).hexdigest()[:16]}.timing"


def _failed(what: str, reasons: list[str]) -> StageError:
    why = f": {reasons[0].strip()[:300]}" if reasons else ""
    return StageError(
        "EngineBuildFailed",
        f"TensorRT cannot build the engine, {what}{why}.",
        "Name another engine in `engines`, or try another version of TensorRT.",
        field="engine",
        got=NAME,
    )


class TensorRtEngine(Engine):
    packages = ("torch",)

    def __init__(self, site: Site, entry: EngineFile) -> None:
        import tensorrt as trt

        self.name = NAME
        self.precision = entry.precision
        self.device = device()
        self.version = str(trt.__version__)
        self._classes = site.network.output_classes
        self._logger = _logger()
        self._runtime = trt.Runtime(self._logger)
        path = engine_file(site.folder, entry)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            why = f": {self._logger.errors[0].strip()[:200]}" if self._logger.errors else ""
            raise unavailable(
                NAME,
                f"its plan was built for another GPU or another version than {self.version}{why}",
                "Compile the engine on this kind of GPU.",
            )
        _, _, largest = self._engine.get_tensor_profile_shape(onnx_export.INPUT, 0)
        self.batch = int(largest[0])
        self._context = self._engine.create_execution_context()

    def host(self) -> Host:
        described = super().host()
        described.versions[NAME] = self.version
        return described

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        windows_ncdhw = windows_ncdhw.contiguous()
        shape = (len(windows_ncdhw), self._classes, *windows_ncdhw.shape[2:])
        logits_nkdhw = torch.empty(shape, dtype=torch.float32, device=self.device)
        self._context.set_input_shape(onnx_export.INPUT, tuple(windows_ncdhw.shape))
        self._context.set_tensor_address(onnx_export.INPUT, windows_ncdhw.data_ptr())
        self._context.set_tensor_address(onnx_export.OUTPUT, logits_nkdhw.data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            reason = self._logger.errors[-1].strip()[:300] if self._logger.errors else "no reason given"
            raise StageError(
                "EngineFailed", f"TensorRT could not run the engine: {reason}.", "Compile it again."
            )
        return logits_nkdhw
