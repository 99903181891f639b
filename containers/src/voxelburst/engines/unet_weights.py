"""The plain U-Net's layers, from its weights alone: to run it needs no MONAI, whose import takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..contract import Network, Zyx

# Of every norm and activation of models.UNet3d.
EPS = 1e-5
SLOPE = 0.01


@dataclass(frozen=True)
class Conv:
    """A convolution (weight: out, in, d, h, w) or a transposed one (in, out, d, h, w), and its stride."""

    weight: torch.Tensor
    stride: Zyx
    bias: torch.Tensor | None = None

    @property
    def kernel(self) -> Zyx:
        d, h, w = self.weight.shape[2:]
        return d, h, w


@dataclass(frozen=True)
class Norm:
    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class Block:
    """Two convolutions, a norm and an activation behind each."""

    conv1: Conv
    norm1: Norm
    conv2: Conv
    norm2: Norm

    @property
    def width(self) -> int:
        return self.conv1.weight.shape[0]


@dataclass(frozen=True)
class UNet:
    """encoder: finest first; decoder: (transposed convolution, block), coarsest first; head: 1x1x1."""

    encoder: list[Block]
    decoder: list[tuple[Conv, Block]]
    head: Conv


def unet_of(state: Mapping[str, torch.Tensor], strides: Sequence[Zyx]) -> UNet:
    """The layers of a state dict of `models.UNet3d`."""
    one: Zyx = (1, 1, 1)

    def block(name: str, stride: Zyx) -> Block:
        return Block(
            conv1=Conv(state[f"{name}.conv1.conv.weight"], stride),
            norm1=Norm(state[f"{name}.norm1.weight"], state[f"{name}.norm1.bias"]),
            conv2=Conv(state[f"{name}.conv2.conv.weight"], one),
            norm2=Norm(state[f"{name}.norm2.weight"], state[f"{name}.norm2.bias"]),
        )

    names = ["input_block", *(f"downsamples.{i}" for i in range(len(strides) - 2)), "bottleneck"]
    decoder = []
    for number, stride in enumerate(reversed(strides[1:])):
        name = f"upsamples.{number}.transp_conv.conv"
        up = Conv(state[f"{name}.weight"], stride, state.get(f"{name}.bias"))
        decoder.append((up, block(f"upsamples.{number}.conv_block", one)))
    head = "output_block.conv.conv"
    return UNet(
        encoder=[block(name, stride) for name, stride in zip(names, strides, strict=True)],
        decoder=decoder,
        head=Conv(state[f"{head}.weight"], one, state.get(f"{head}.bias")),
    )


def read_unet(path: Path, network: Network) -> UNet:
    """From a file that `models.save_weights` wrote; reading it runs no code of it."""
    return unet_of(torch.load(path, map_location="cpu", weights_only=True), network.strides)
