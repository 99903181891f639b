"""The first convolution of a network, which has few input channels, as `voxelburst::stem_convolution`.

Triton kernels on a GPU, PyTorch's convolution elsewhere. Axes: n sample, c input channel, o output channel, d
h w space; memory is NDHWC (torch.channels_last_3d).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.grad import conv3d_input, conv3d_weight

# Taps (input channels x kernel) that a program multiplies at once.
MAX_TAPS = 128


def stem_convolution(x_ncdhw: torch.Tensor, weight_ocdhw: torch.Tensor) -> torch.Tensor:
    """y_nodhw: stride 1, odd kernel, edges padded with zeros by half a kernel, no bias.

    Args:
        x_ncdhw: bfloat16, float16 or float32. Its gradient is PyTorch's.
        weight_ocdhw: of x's type; up to `MAX_TAPS` values an output channel.

    Returns:
        y_nodhw of x's type, in NDHWC memory. Sums are float32.
    """
    return _forward(x_ncdhw, weight_ocdhw)


@torch.library.custom_op("voxelburst::stem_convolution", mutates_args=())
def _forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    y = nn.functional.conv3d(x, weight, padding=padding)
    return y.clone(memory_format=torch.channels_last_3d)


@_forward.register_kernel("cuda")
def _forward_on_gpu(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    from . import stem_triton  # PyTorch for CPUs comes without Triton

    y = _forward_fake(x, weight)
    with torch.cuda.device(x.device):
        stem_triton.forward(_ndhwc(x), weight.contiguous(), _ndhwc(y))
    return y


@_forward.register_fake
def _forward_fake(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    n, _, d, h, w = x.shape
    return x.new_empty((n, d, h, w, weight.shape[0])).movedim(-1, 1)


@torch.library.custom_op("voxelburst::stem_convolution_weights", mutates_args=())
def _weights(x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The gradient of the weights."""
    padding = [size // 2 for size in weight.shape[2:]]
    return conv3d_weight(x, list(weight.shape), dy, padding=padding).contiguous()


@_weights.register_kernel("cuda")
def _weights_on_gpu(x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    from . import stem_triton

    with torch.cuda.device(x.device):
        return stem_triton.weights(_ndhwc(x), _ndhwc(dy), weight).contiguous()


@_weights.register_fake
def _weights_fake(x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight.new_empty(weight.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    x, weight = ctx.saved_tensors
    dx = None
    if ctx.needs_input_grad[0]:
        padding = [size // 2 for size in weight.shape[2:]]
        dx = conv3d_input(list(x.shape), weight, dy, padding=padding)
    return dx, _weights(x, dy, weight) if ctx.needs_input_grad[1] else None


_forward.register_autograd(_gradients, setup_context=_keep_for_backward)


def _ndhwc(volume_ncdhw: torch.Tensor) -> torch.Tensor:
    return volume_ncdhw.permute(0, 2, 3, 4, 1).contiguous()


class StemConvolution(nn.Module):
    """Takes the place of a Conv3d, with its parameter's name, so that the state dict stays."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x_ncdhw: torch.Tensor) -> torch.Tensor:
        """y_nodhw, in the type that autocast asks for, as Conv3d's is."""
        kind = x_ncdhw.device.type
        wanted = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.weight.dtype
        return stem_convolution(x_ncdhw.to(wanted), self.weight.to(wanted))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {len(self.weight)}, kernel_size={tuple(self.weight.shape[2:])}"


def fits_stem(convolution: Any) -> bool:
    """Whether the kernels compute this convolution."""
    return (
        isinstance(convolution, nn.Conv3d)
        and convolution.stride == (1, 1, 1)
        and convolution.bias is None
        and convolution.groups == 1
        and convolution.dilation == (1, 1, 1)
        and all(size % 2 == 1 for size in convolution.kernel_size)
        and convolution.padding == tuple(size // 2 for size in convolution.kernel_size)
        and convolution.weight[0].numel() <= MAX_TAPS
    )
