"""How much arithmetic a patch takes, and how much the machine can do: counted and measured, not looked up.

Axes: n sample, c channel, d h w space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .. import models
from ..contract import Network, Zyx

_MATRIX = 8192
_REPEATS = 20


def teraflop(network: Network, patch: Zyx) -> tuple[float, float]:
    """TFLOP of a patch through the network's convolutions: forward, and forward with backward.

    A multiply-add is two operations. The backward takes twice the forward, less the gradient of the input
    that the first layer does not compute.
    """
    total, first = 0.0, 0.0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        nonlocal total, first
        assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
        # Each voxel of a convolution's output, or of a transposed one's input, meets the whole kernel.
        voxels = (output if isinstance(module, nn.Conv3d) else inputs[0]).shape[2:]
        taps = math.prod(module.kernel_size)
        operations = 2 * taps * module.in_channels * module.out_channels * math.prod(voxels) / module.groups
        first = first or operations
        total += operations

    with torch.device("meta"):
        model = models.build(network).train()
        for module in model.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.register_forward_hook(count)
        model(torch.empty(1, network.input_channels, *patch))
    return total / 1e12, (3 * total - first) / 1e12


def matrix_teraflops(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a product of random square matrices: the peak that shares are given of.

    int8 (on a GPU only) is summed in int32, its second matrix column by column, as cuBLAS wants it.
    """
    size = _MATRIX if device.type == "cuda" else _MATRIX // 8
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.matmul
    if dtype == torch.int8:
        a, b = (torch.randint(-128, 128, (size, size), device=device, dtype=dtype) for _ in range(2))
        b, product = b.t(), torch._int_mm
    else:
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / 1e12 / _median_seconds(lambda: product(a, b), device)


def _median_seconds(work: Callable[[], Any], device: torch.device) -> float:
    from ..training.clock import StepClock

    for _ in range(3):
        work()
    clock = StepClock(device)
    clock.start()
    for _ in range(_REPEATS):
        work()
        clock.step()
    return sorted(clock.collect())[_REPEATS // 2]
