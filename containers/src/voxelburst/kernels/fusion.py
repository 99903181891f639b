"""Puts the fused norm and activation into a network, under the names that its state dict already has.

A fused network is for training and for inference in PyTorch. What is exported (ONNX, TensorRT) is the network
of `models.build`: the weights of either load into the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .norm_activation import EPS, SLOPE, instance_norm_leaky_relu
from .stem import StemConvolution, fits_stem
from .upsample import MatmulUpsample, is_matmul


class InstanceNormLeakyReLU(nn.Module):
    """InstanceNorm3d with affine parameters, and the LeakyReLU behind it.

    Its parameters have InstanceNorm3d's names, so that it takes that module's place in a state dict.
    """

    def __init__(
        self, weight_c: nn.Parameter, bias_c: nn.Parameter, *, eps: float = EPS, slope: float = SLOPE
    ):
        """weight_c and bias_c are used, not copied: an optimizer that holds them keeps its hold."""
        super().__init__()
        self.weight = weight_c
        self.bias = bias_c
        self.eps = eps
        self.slope = slope

    def forward(self, x_ncdhw: torch.Tensor) -> torch.Tensor:
        """y_ncdhw, in NDHWC memory (torch.channels_last_3d)."""
        return instance_norm_leaky_relu(x_ncdhw, self.weight, self.bias, self.eps, self.slope)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, slope={self.slope}"


def fuse(model: nn.Module) -> int:
    """Replaces each InstanceNorm3d and the LeakyReLU behind it in a U-Net of `models.build`, in place.

    Parameters stay the same objects, and the state dict keeps its names and values. The volumes are best in
    NDHWC memory throughout: `model.to(memory_format=torch.channels_last_3d)`, and the patches too. Where an
    activation does not follow each of a block's norms at once, or a norm is of another kind (no affine
    parameters, running statistics), the block is left as it is.

    Returns:
        how many norms were replaced: 0 when there was none, or the model is fused already.
    """
    # MONAI takes seconds to import, and the kernels alone do not need it.
    from ..models.unet3d import blocks

    replaced = 0
    for block in blocks(model):
        activation = block.lrelu
        if not isinstance(activation, nn.LeakyReLU):
            continue
        norms = {name: norm for name in ("norm1", "norm2") if _is_plain(norm := getattr(block, name))}
        if len(norms) < 2:  # Both norms share the block's one activation.
            continue
        for name, norm in norms.items():
            fused = InstanceNormLeakyReLU(
                norm.weight, norm.bias, eps=norm.eps, slope=activation.negative_slope
            )
            setattr(block, name, fused.train(norm.training))
        block.lrelu = nn.Identity()
        replaced += len(norms)
    return replaced


def fuse_stem(model: nn.Module) -> bool:
    """Replaces a U-Net's first convolution, in place, where it has few input channels; whether it was.

    For training on a GPU alone: elsewhere PyTorch's own is what it would call.
    """
    from ..models.unet3d import blocks

    found = blocks(model)
    if not found:  # The stem is the plain U-Net's: other networks keep PyTorch's.
        return False
    wrapper: Any = found[0].conv1
    if not fits_stem(getattr(wrapper, "conv", None)):
        return False
    wrapper.conv = StemConvolution(wrapper.conv.weight)
    return True


def fuse_upsamples(model: nn.Module) -> int:
    """Replaces a U-Net's transposed convolutions, in place, by matrix products; how many.

    For compiled training on a GPU alone: launched one by one, the rearrangement costs a pass over memory.
    """
    replaced = 0
    child: Any
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if is_matmul(child):
                setattr(module, name, MatmulUpsample(child.weight, child.bias))
                replaced += 1
    return replaced


def _is_plain(norm: nn.Module) -> bool:
    return type(norm) is nn.InstanceNorm3d and norm.affine and not norm.track_running_stats
