"""nnU-Net's U-Net with a residual encoder (recipe.md, 1.2 and 1.3: blocks 1, 3, 4, 6, 6, 6, one convolution a
decoder level; dynamic_network_architectures' ResidualEncoderUNet).

Axes: n sample, c channel, k class, d h w space (the arrays' own order).
"""

from __future__ import annotations

import torch
from torch import nn

from ..contract import Zyx

_SLOPE = 0.01


def blocks_of(stages: int) -> list[int]:
    """Residual blocks of each stage: nnU-Net's, the sixth stage's for all deeper ones."""
    known = (1, 3, 4, 6, 6, 6)
    return [known[min(stage, len(known) - 1)] for stage in range(stages)]


def _convolution(inputs: int, outputs: int, kernel: Zyx, stride: Zyx = (1, 1, 1)) -> nn.Conv3d:
    """Without bias: the norm behind it would remove it (recipe.md, 1.6)."""
    d, h, w = (k // 2 for k in kernel)
    return nn.Conv3d(inputs, outputs, kernel, stride, (d, h, w), bias=False)


class _ConvNorm(nn.Sequential):
    """Convolution and InstanceNorm, and LeakyReLU where it is asked for."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Zyx, stride: Zyx = (1, 1, 1), *, active: bool
    ) -> None:
        layers: list[nn.Module] = [
            _convolution(inputs, outputs, kernel, stride),
            nn.InstanceNorm3d(outputs, affine=True),
        ]
        if active:
            layers.append(nn.LeakyReLU(_SLOPE, inplace=True))
        super().__init__(*layers)


class _ResidualBlock(nn.Module):
    """nnU-Net's BasicBlockD: the shortcut averages over the stride, then widens by a 1x1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: Zyx, stride: Zyx) -> None:
        super().__init__()
        self.first = _ConvNorm(inputs, outputs, kernel, stride, active=True)
        self.second = _ConvNorm(outputs, outputs, kernel, active=False)
        shortcut: list[nn.Module] = []
        if any(step != 1 for step in stride):
            shortcut.append(nn.AvgPool3d(stride, stride))
        if inputs != outputs:
            shortcut.append(_ConvNorm(inputs, outputs, (1, 1, 1), active=False))
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.LeakyReLU(_SLOPE, inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.activation(self.second(self.first(features)) + self.shortcut(features))


class ResEncUNet(nn.Module):
    """Residual encoder, plain decoder, supervision heads at their own resolution.

    He normal initialisation with slope 0.01, biases 0, the last norm of each residual block 0 (nnU-Net's).
    """

    def __init__(
        self,
        *,
        input_channels: int,
        output_classes: int,
        features: list[int],
        kernels: list[Zyx],
        strides: list[Zyx],
        coarse_heads: int,
    ) -> None:
        """coarse_heads: supervised decoder levels below the finest, 0 to len(strides) - 2."""
        super().__init__()
        self.stem = _ConvNorm(input_channels, features[0], kernels[0], active=True)
        self.encoder = nn.ModuleList()
        inputs = features[0]
        for stage, blocks in enumerate(blocks_of(len(features))):
            outputs, kernel = features[stage], kernels[stage]
            self.encoder.append(
                nn.Sequential(
                    _ResidualBlock(inputs, outputs, kernel, strides[stage]),
                    *(_ResidualBlock(outputs, outputs, kernel, (1, 1, 1)) for _ in range(blocks - 1)),
                )
            )
            inputs = outputs
        levels = range(len(features) - 1)
        self.upsamples = nn.ModuleList(
            nn.ConvTranspose3d(features[level + 1], features[level], strides[level + 1], strides[level + 1])
            for level in levels
        )
        self.decoder = nn.ModuleList(
            _ConvNorm(2 * features[level], features[level], kernels[level], active=True) for level in levels
        )
        self.heads = nn.ModuleList(
            nn.Conv3d(features[level], output_classes, 1) for level in range(1 + coarse_heads)
        )
        self.apply(_initialise)

    def forward(self, patches_ncdhw: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Logits.

        Returns:
            in eval mode logits_nkdhw of the patches' size; in training mode a tuple of them, finest first,
            each coarser one at the resolution of its decoder level.
        """
        features = self.stem(patches_ncdhw)
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        logits: list[torch.Tensor] = []
        for level in reversed(range(len(self.decoder))):
            joined = torch.cat([self.upsamples[level](features), skips[level]], 1)
            features = self.decoder[level](joined)
            if level == 0 or (self.training and level < len(self.heads)):
                logits.append(self.heads[level](features))
        return tuple(reversed(logits)) if self.training else logits[-1]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _ResidualBlock):
        norm = module.second[1]
        assert isinstance(norm, nn.InstanceNorm3d)
        nn.init.zeros_(norm.weight)
