"""`onnxruntime`: ONNX Runtime, on the GPU with its CUDA provider, otherwise on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import host
from ..contract import EngineFile
from ..errors import StageError
from . import onnx_export
from .engine import Engine, Site, device, engine_file, logits_shape, unavailable, windows_a_call

NAME = "onnxruntime"
MODEL_FILE = "model.onnx"
FP16_FILE = "model.fp16.onnx"
_CUDA = "CUDAExecutionProvider"


def missing(_where: torch.device) -> StageError | None:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return unavailable(NAME, "the package onnxruntime is not installed", "Run `npm run setup`.")
    return None


def _on_gpu() -> bool:
    import onnxruntime

    return torch.cuda.is_available() and _CUDA in onnxruntime.get_available_providers()


def precisions(_where: torch.device) -> tuple[str, ...]:
    return ("fp16",) if _on_gpu() else ("fp32",)


all_precisions = precisions


def make(model: nn.Module, site: Site, precision: str, _calibration: Any) -> EngineFile:
    """FP16 for the CUDA provider; the CPU's takes model.onnx, which every model folder has."""
    if precision == "fp32":
        return EngineFile(engine=NAME, precision="fp32", file=MODEL_FILE)
    onnx_export.export(model, site, "fp16", site.folder / FP16_FILE)
    return EngineFile(engine=NAME, precision="fp16", file=FP16_FILE)


def load(site: Site, entry: EngineFile) -> Engine:
    return OnnxRuntimeEngine(site, entry)


class OnnxRuntimeEngine(Engine):
    packages = ("torch", "onnxruntime")

    def __init__(self, site: Site, entry: EngineFile) -> None:
        import onnxruntime

        self.name = NAME
        self.precision = entry.precision
        on_gpu = _on_gpu()
        self.device = device() if on_gpu else torch.device("cpu")
        if torch.cuda.is_available() and not on_gpu:
            self.fallbacks = ("This ONNX Runtime has no CUDA provider: it ran on the CPU.",)
        self.batch = windows_a_call(site, self.device)
        self._network = site.network
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = host.cpus()
        options.log_severity_level = 3
        # Waiting threads sleep: spinning, they would take the core that loads the next case.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        providers: list[Any] = ["CPUExecutionProvider"]
        if on_gpu:
            providers.insert(
                0, (_CUDA, {"device_id": self.device.index, "cudnn_conv_algo_search": "EXHAUSTIVE"})
            )
        path = engine_file(site.folder, entry)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as cause:  # ONNX Runtime's errors have no common class of their own
            raise StageError(
                "EngineUnreadable",
                f"ONNX Runtime cannot load {path.name}: {str(cause).strip().splitlines()[0][:200]}",
                "Compile the engine again.",
            ) from cause

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cpu":
            (logits_nkdhw,) = self._session.run(None, {onnx_export.INPUT: windows_ncdhw.contiguous().numpy()})
            return torch.from_numpy(logits_nkdhw)
        return self._on_device(windows_ncdhw.contiguous())

    def _on_device(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        """Input and output stay on the GPU."""
        import numpy as np

        shape = logits_shape(self._network, len(windows_ncdhw), windows_ncdhw.shape[2:])
        logits_nkdhw = torch.empty(shape, dtype=torch.float32, device=self.device)
        binding = self._session.io_binding()
        for bind, name, tensor in (
            (binding.bind_input, onnx_export.INPUT, windows_ncdhw),
            (binding.bind_output, onnx_export.OUTPUT, logits_nkdhw),
        ):
            bind(name, "cuda", self.device.index, np.float32, tuple(tensor.shape), tensor.data_ptr())
        # The session has a stream of its own: torch's must be done before, and the session's after.
        torch.cuda.current_stream().synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return logits_nkdhw
