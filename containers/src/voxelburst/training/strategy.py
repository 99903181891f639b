"""What a training strategy is on this machine: each adds to the one before it (the benchmark ladder)."""

from __future__ import annotations

import os
import shutil

import torch

from ..contract import frozen
from ..errors import StageError
from ..machine import native_bf16

NAMES = ("fp32", "amp", "dali", "fused", "ddp")
# cuDNN 9.8 to 9.10 gave wrong results of 3-D convolutions in bf16 (reference/performance.md).
_WRONG_CUDNN = range(90800, 91100)
# Seen with PyTorch's oneDNN on a processor with bf16: one step in ten has weight gradients that are not
# finite, of convolutions over 2x2x2 voxels; in float32 none has.
_NO_BF16_OF_CLASSES = (
    "On this processor bf16 gradients of convolutions over the network's last, small grids are not always "
    "finite: float32 was used."
)
_LOADER_OF_CLASSES = (
    "Whole volumes are loaded and augmented by the torch loader alone: {} has no loader of classes."
)


@frozen
class Strategy:
    """How to train.

    graph: the whole step is one CUDA graph, where one process trains. fallbacks: a sentence for each thing
    that the strategy names and this machine has not.
    """

    precision: str
    loader: str
    channels_last: bool
    fused_norm: bool
    fused_stem: bool
    matmul_upsample: bool
    compiled: bool
    graph: bool
    fallbacks: list[str]

    @property
    def autocast_type(self) -> torch.dtype | None:
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last_3d if self.channels_last else torch.contiguous_format


def strategy_of(
    name: str, planned_precision: str, device: torch.device, *, of_classes: bool = False
) -> Strategy:
    """What a strategy means on a device.

    Args:
        of_classes: the network classifies whole volumes, which the torch loader alone has.

    On a GPU channels-last comes with the fused norm, without which it is slower. On a CPU it is a quarter
    faster with any norm, and is used wherever the strategy is not the plain one.

    Raises:
        StageError: CudnnWrong, where this cuDNN computes bf16 convolutions wrongly.
    """
    on_gpu = device.type == "cuda"
    rung = NAMES.index(name)
    fallbacks = []
    precision = planned_precision if rung >= NAMES.index("amp") else "fp32"
    if precision != "fp32" and not on_gpu and not (precision == "bf16" and native_bf16(device)):
        fallbacks.append(
            f"This processor has no {precision} arithmetic (AVX512-BF16 or AMX), and emulating it is many "
            "times slower: float32 was used."
        )
        precision = "fp32"
    if precision == "bf16" and not on_gpu and of_classes:
        fallbacks.append(_NO_BF16_OF_CLASSES)
        precision = "fp32"
    if precision == "bf16" and on_gpu and torch.backends.cudnn.version() in _WRONG_CUDNN:
        raise StageError(
            "CudnnWrong",
            f"cuDNN {torch.backends.cudnn.version()} gives wrong results for 3-D convolutions in bf16.",
            "Install the locked requirements, or set train.precision to fp16.",
            got=str(torch.backends.cudnn.version()),
            allowed="below 90800, or 91100 and above",
        )
    loader = "dali" if rung >= NAMES.index("dali") else "torch"
    fused = rung >= NAMES.index("fused")
    if loader == "dali" and not on_gpu and not of_classes:
        fallbacks.append("There is no GPU: DALI's operators ran on the CPU.")
    if fused and not on_gpu:
        fallbacks.append(
            "There is no GPU: the fused norm was made of PyTorch's operators, and the step was not compiled, "
            "which gains nothing on a CPU."
        )
    compiled = fused and on_gpu
    if compiled and not has_compiler():
        fallbacks.append("There is no C compiler, which torch.compile needs: the step was not compiled.")
        compiled = False
    if compiled:
        loader = "triton"
    if of_classes and loader != "torch":
        fallbacks.append(_LOADER_OF_CLASSES.format(loader))
        loader = "torch"
    if name == "ddp" and not on_gpu:
        fallbacks.append("There is no GPU: the processes talked by gloo, not by NCCL.")
    return Strategy(
        precision=precision,
        loader=loader,
        channels_last=fused or (rung > 0 and not on_gpu),
        fused_norm=fused,
        fused_stem=compiled,
        matmul_upsample=compiled,
        compiled=compiled,
        graph=compiled,
        fallbacks=fallbacks,
    )


def has_compiler() -> bool:
    names = (os.environ.get("CC"), "gcc", "clang", "cc")
    return any(name and shutil.which(name) for name in names)
