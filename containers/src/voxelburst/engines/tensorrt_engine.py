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
from . import onnx_export, onnx_norms, onnx_rewrite
from .engine import Engine, Site, device, engine_file, logits_shape, unavailable, windows_a_call

NAME = "tensorrt"
PLAN_FILE = "model.plan"
_CALIBRATION_WINDOWS = 32
# performance.md: level 3 built in 101 s what ran at 168 windows/s.
_BUILDER_LEVEL = 3
# The forms in which norms are tried: our plugin (tensorrt_plugin.py), then the layer of TensorRT. There is
# also "operations" (onnx_norms.decompose_norms). The order awaits a measurement on an H100.
_NORMS = ("plugin", "layer")
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
    for attempt, form in enumerate(_NORMS, 1):
        try:
            plan = _cached(_with_norms(graph, document, form), site)
            break
        except StageError as error:
            if attempt == len(_NORMS):
                raise
            print(f"without the norms' form {form}: {error.message}", file=sys.stderr, flush=True)
    (site.folder / PLAN_FILE).write_bytes(plan)
    return EngineFile(engine=NAME, precision=precision, file=PLAN_FILE)


def _with_norms(graph: Path, document: Any, form: str) -> Path:
    """The file of the graph with its norms as our plugin, as operations, or as TensorRT's own layer.

    Raises:
        StageError: EngineBuildFailed: there is no plugin.
    """
    import onnx

    written = onnx.ModelProto()
    written.CopyFrom(document)
    if form == "plugin":
        why = _register_plugin()
        if why:
            raise _failed("without its plugin of the norms", [why])
        onnx_norms.fuse_norms(written)
    elif form == "operations":
        onnx_norms.decompose_norms(written)
    graph.write_bytes(written.SerializeToString(deterministic=True))
    return graph


def _register_plugin() -> str | None:
    """Lets TensorRT build and load plans with our norms; or why it cannot."""
    try:
        from . import tensorrt_plugin
    except (ImportError, AttributeError) as error:  # no Triton, or no plugins in Python
        return f"the norms' plugin cannot be had here ({error})"
    tensorrt_plugin.register()
    return None


def _raised_by_plugin() -> list[str]:
    """What our plugin raised since the last call; TensorRT keeps it to itself."""
    module = sys.modules.get(f"{__package__}.tensorrt_plugin")
    said = [] if module is None else list(module.raised)
    if module is not None:
        module.raised.clear()
    return said[:1]


def load(site: Site, entry: EngineFile) -> Engine:
    return TensorRtEngine(site, entry)


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
    _raised_by_plugin()  # of a build before this one, which went well without what raised
    cache = config.create_timing_cache(cache_file.read_bytes() if cache_file.exists() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed("its builder found no implementation", [*_raised_by_plugin(), *logger.errors])
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
    """Replays a CUDA graph of the plan, one a number of windows (powers of two, and the whole batch)."""

    packages = ("torch",)

    def __init__(self, site: Site, entry: EngineFile) -> None:
        import tensorrt as trt

        self.name = NAME
        self.precision = entry.precision
        self.device = device()
        self.version = str(trt.__version__)
        self._logger = _logger()
        without_plugin = _register_plugin()
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
        window = (self.batch, site.network.input_channels, *site.patch)
        self._windows_ncdhw = torch.zeros(window, device=self.device)
        logits = logits_shape(site.network, self.batch, site.patch)
        self._logits_nkdhw = torch.empty(logits, device=self.device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        fallbacks = [without_plugin] if without_plugin else []
        try:
            for samples in sorted({self.batch, *(1 << n for n in range(self.batch.bit_length()))}):
                self._graphs[samples] = self._captured(samples)
        except RuntimeError as error:
            self._graphs.clear()
            fallbacks.append(f"TensorRT's plan runs without a CUDA graph: {str(error).splitlines()[0]}")
        self.fallbacks = tuple(fallbacks)

    def host(self) -> Host:
        described = super().host()
        described.versions[NAME] = self.version
        return described

    def _captured(self, samples: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(torch.cuda.Stream(self.device)):
            # The first call at a shape allocates and loads, which a capture does not allow.
            self._run(samples)
            torch.cuda.current_stream().synchronize()
            # Other threads of this process may go on using the GPU.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._run(samples)
            except StageError as error:
                raise RuntimeError(error.message) from error
            finally:
                graph.capture_end()
        return graph

    def _run(self, samples: int) -> None:
        """From the first windows to the first logits, on the current stream."""
        self._context.set_input_shape(onnx_export.INPUT, (samples, *self._windows_ncdhw.shape[1:]))
        self._context.set_tensor_address(onnx_export.INPUT, self._windows_ncdhw.data_ptr())
        self._context.set_tensor_address(onnx_export.OUTPUT, self._logits_nkdhw.data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            reason = self._logger.errors[-1].strip()[:300] if self._logger.errors else "no reason given"
            raise StageError(
                "EngineFailed", f"TensorRT could not run the engine: {reason}.", "Compile it again."
            )

    @torch.no_grad()
    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        given = len(windows_ncdhw)
        samples = min(self.batch, 1 << (given - 1).bit_length())
        self._windows_ncdhw[:given].copy_(windows_ncdhw)
        if graph := self._graphs.get(samples):
            graph.replay()
        else:
            self._run(samples)
        return self._logits_nkdhw[:given].clone()
