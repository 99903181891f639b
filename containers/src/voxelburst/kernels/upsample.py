"""A transposed convolution whose kernel is its stride, as one matrix product.

No output voxel meets two input voxels there: of each input voxel the kernel makes a block of output voxels. A
compiled network joins the blocks' rearrangement with the concatenation that follows, which reads them anyway.
Axes: n sample, c input channel, o output channel, d h w space, i j k within a block.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import nn


class MatmulUpsample(nn.Module):
    """Takes the place of a ConvTranspose3d, with its parameters' names, so that the state dict stays."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """weight: weight_coijk."""
        super().__init__()
        self.weight = weight
        self.bias = bias

    def forward(self, x_ncdhw: torch.Tensor) -> torch.Tensor:
        """y_nodhw, in NDHWC memory, in the type that autocast asks for."""
        inputs, outputs, *block = self.weight.shape
        n, _, *space = x_ncdhw.shape
        weight = self.weight.permute(0, 2, 3, 4, 1).reshape(inputs, -1)
        rows = x_ncdhw.permute(0, 2, 3, 4, 1).reshape(-1, inputs)
        y = torch.matmul(rows, weight).reshape(n, *space, *block, outputs)
        y = y.permute(0, 1, 4, 2, 5, 3, 6, 7)
        y = y.reshape(n, *(size * b for size, b in zip(space, block, strict=True)), outputs)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.permute(0, 4, 1, 2, 3)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, kernel_size={tuple(self.weight.shape[2:])}"


def is_matmul(convolution: Any) -> TypeGuard[nn.ConvTranspose3d]:
    """Whether a module is a transposed convolution whose kernel is its stride."""
    return (
        isinstance(convolution, nn.ConvTranspose3d)
        and convolution.kernel_size == convolution.stride
        and convolution.padding == (0, 0, 0)
        and convolution.output_padding == (0, 0, 0)
        and convolution.dilation == (1, 1, 1)
        and convolution.groups == 1
    )
