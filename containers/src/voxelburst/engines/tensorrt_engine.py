"""`tensorrt`: TensorRT 10.6 to 11, strongly typed: the precision comes from the ONNX graph.

TensorRT 11 has no other way; 10 has it behind a flag. Written to NVIDIA's documented Python API, and run with
10.6.0 on an H100; nobody has run it with 11 yet.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..contract import EngineFile, Host
from ..errors import StageError
from . import onnx_export, onnx_rewrite
from .engine import Engine, Site, device, engine_file, unavailable, windows_a_call

NAME = "tensorrt"
PLAN_FILE = "model.plan"
_CALIBRATION_WINDOWS = 32
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


def precisions(_where: torch.device) -> tuple[str, ...]:
    return ("fp16",)


def all_precisions(_where: torch.device) -> tuple[str, ...]:
    return ("fp16", "int8")


def make(model: nn.Module, site: Site, precision: str, calibration: Any) -> EngineFile:
    """Builds a plan for this GPU from an FP16 graph, for int8 with Q/DQ around its convolutions.

    Raises:
        StageError: EngineBuildFailed, with the parser's or the builder's first reason.
    """
    import onnx

    graph = site.folder / f"model.{precision}.onnx"
    onnx_export.export(model, site, "fp16", graph)
    document = onnx.load(graph)
    if precision == "int8":
        windows = itertools.islice(calibration(), _CALIBRATION_WINDOWS)
        found = onnx_rewrite.amplitudes(model, windows, device())
        model.cpu()
        onnx_rewrite.quantise(document, found)
    plain = document.SerializeToString(deterministic=True)
    if _has_fused_norm():
        onnx_rewrite.fuse_norms(document)
    fused = document.SerializeToString(deterministic=True)
    try:
        graph.write_bytes(fused)
        plan = _cached(graph, site)
    except StageError as error:
        if fused == plain:
            raise
        # The plugin wants a cuDNN of its own major version.
        print(f"without the fused norm, as {error.message}", file=sys.stderr, flush=True)
        graph.write_bytes(plain)
        plan = _cached(graph, site)
    (site.folder / PLAN_FILE).write_bytes(plan)
    return EngineFile(engine=NAME, precision=precision, file=PLAN_FILE)


def load(site: Site, entry: EngineFile) -> Engine:
    return TensorRtEngine(site, entry)


def _has_fused_norm() -> bool:
    """Whether this TensorRT has the plugin that `onnx_rewrite.fuse_norms` puts into a graph."""
    import tensorrt as trt

    if not trt.init_libnvinfer_plugins(None, ""):
        return False
    return any(
        creator.name == "InstanceNormalization_TRT"
        for creator in trt.get_plugin_registry().plugin_creator_list
    )


def _cached(graph: Path, site: Site) -> bytes:
    """The plan of a graph, weights included: from the cache where this GPU and TensorRT built it before."""
    import tensorrt as trt

    parts = [graph.read_bytes(), str(windows_a_call(site, device())).encode(), str(_BUILDER_LEVEL).encode()]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:32]
    kept = _cache_file(trt.__version__, f"{digest}.plan")
    if not kept.exists():
        _keep(kept, _built(graph, site))
    return kept.read_bytes()


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".write-{os.getpid()}-{path.name}")
    staged.write_bytes(content)
    staged.replace(path)


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
    # What stays InstanceNormalization is a layer; said here as the flag's default changed between versions.
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
    cache_file = _cache_file(trt.__version__, "timing")
    cache = config.create_timing_cache(cache_file.read_bytes() if cache_file.exists() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed("its builder found no implementation", logger.errors)
    _keep(cache_file, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _cache_file(version: str, name: str) -> Path:
    """Of this TensorRT on this kind of GPU: measured kernel times, or a plan."""
    root = Path(os.environ.get("VOXELBURST_SCRATCH") or tempfile.gettempdir())
    kind = f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()} {version}"
    return root / "voxelburst" / f"tensorrt-{hashlib.sha256(kind.encode()).hexdigest()[:16]}" / name


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
        trt.init_libnvinfer_plugins(self._logger, "")
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
