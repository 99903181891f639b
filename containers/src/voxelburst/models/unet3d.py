"""nnU-Net's plain 3D U-Net, made of MONAI's DynUNet.

Axes: n sample, c channel, k class, d h w space (the arrays' own order).
"""

from __future__ import annotations

import torch
from monai.networks.blocks.dynunet_block import UnetUpBlock
from monai.networks.nets import DynUNet
from torch import nn

from ..contract import Zyx


class UNet3d(DynUNet):
    """DynUNet with nnU-Net's topology and its supervision heads at their own resolution.

    Where nnU-Net and DynUNet differ (recipe.md 1.6): transposed convolutions have their bias here as there;
    convolutions have none, which the norm behind them would remove. A decoder level has the kernel of the
    encoder stage whose output it joins, where DynUNet gives it that of the stage below. DynUNet's training
    output upsamples the coarse heads to full size and stacks them; here each head keeps its resolution, for
    labels downsampled to it, as in nnU-Net, and at a fraction of the memory.

    He normal initialisation with slope 0.01, biases 0 (DynUNet's own).
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
        super().__init__(
            spatial_dims=3,
            in_channels=input_channels,
            out_channels=output_classes,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=features,
            deep_supervision=coarse_heads > 0,
            deep_supr_num=max(coarse_heads, 1),
            trans_bias=True,
        )
        # The same modules under a second name, which the state dict would hold twice.
        del self.skip_layers
        del self.heads

    def check_kernel_stride(self) -> None:
        """A patch of fewer than 16 voxels has two stages, which DynUNet refuses without need."""

    def get_upsamples(self) -> nn.ModuleList:
        """The decoder, deepest level first, with nnU-Net's kernels.

        dynamic-network-architectures, UNetDecoder: level s, s = 1 the deepest, takes kernel_sizes[-(s + 1)].
        DynUNet takes that of -s, which makes an anisotropic plan's finest level 3x3x3 in place of 1x3x3.
        """
        upsamples: nn.ModuleList = self.get_module_list(
            self.filters[1:][::-1],  # type: ignore[arg-type]
            self.filters[:-1][::-1],  # type: ignore[arg-type]
            self.kernel_size[:-1][::-1],
            self.strides[1:][::-1],
            UnetUpBlock,  # type: ignore[arg-type]
            self.upsample_kernel_size[::-1],
            self.trans_bias,
        )
        return upsamples

    def forward(self, patches_ncdhw: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Logits.

        Returns:
            in eval mode logits_nkdhw of the patches' size; in training mode a tuple of them, finest first,
            each coarser one at the resolution of its decoder level.
        """
        features = self.input_block(patches_ncdhw)
        skips = [features]
        for down in self.downsamples:
            features = down(features)
            skips.append(features)
        features = self.bottleneck(features)
        logits: list[torch.Tensor] = []
        for level, up in zip(reversed(range(len(skips))), self.upsamples, strict=True):
            features = up(features, skips[level])
            if self.training and level > 0 and self.deep_supervision and level <= self.deep_supr_num:
                logits.append(self.deep_supervision_heads[level - 1](features))
        finest = self.output_block(features)
        if not self.training:
            return finest
        return (finest, *reversed(logits))


def blocks(model: nn.Module) -> list[nn.Module]:
    """The convolution blocks (conv, norm, activation, twice) of a U-Net, in the order of their names."""
    from monai.networks.blocks.dynunet_block import UnetBasicBlock

    return [module for module in model.modules() if isinstance(module, UnetBasicBlock)]
