"""Swin UNETR: a transformer of shifted windows encodes, residual blocks decode (MONAI's modules).

Axes: n sample, c channel, k class, d h w space (the arrays' own order), w window, t token of a window.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import (
    SwinUNETR,
    WindowAttention,
    get_window_size,
    window_partition,
)

from ..contract import Zyx
from ..errors import StageError

# Levels of the network: the image, the patch embedding's grid of half its size, and what four stages halve.
STRIDES: list[Zyx] = [(1, 1, 1)] + [(2, 2, 2)] * 5
# MONAI's stages have 3, 6, 12 and 24 heads: each must get whole features.
WIDTH_MULTIPLE = 12
_FORBIDDEN = -100.0  # MONAI's score of a pair that may not attend, before the softmax


def features_of(width: int) -> list[int]:
    """Of each level: the transformer doubles its features where it halves its grid."""
    return [width, width, 2 * width, 4 * width, 8 * width, 16 * width]


class SwinUnetr(SwinUNETR):
    """MONAI's network with MONAI's parameters, and a forward pass that can be compiled and exported.

    MONAI's own permutes by einops, which is not among this package's requirements, and fills the mask of the
    shifted windows slice by slice in each call: 27 launches a stage. Here the mask is three comparisons.
    """

    def __init__(self, *, input_channels: int, output_classes: int, features: list[int]) -> None:
        """features: `features_of` a width.

        Raises:
            StageError: NetworkInvalid, for features of another shape or a width that heads cannot share.
        """
        width = features[0]
        if width % WIDTH_MULTIPLE or list(features) != features_of(width):
            raise StageError(
                "NetworkInvalid",
                f"The plan's swin-unetr has the features {list(features)}; its width must be a multiple of "
                f"{WIDTH_MULTIPLE} and its levels have 1, 1, 2, 4, 8 and 16 times that.",
                "Run the plan stage again.",
                field="network.features",
            )
        super().__init__(input_channels, output_classes, feature_size=width)
        for module in self.modules():
            if isinstance(module, WindowAttention):
                # It follows from the window alone, and is no weight.
                index: Any = module.relative_position_index
                del module.relative_position_index
                module.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, patches_ncdhw: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Logits.

        Args:
            patches_ncdhw: edges that 32 divides.

        Returns:
            in eval mode logits_nkdhw of the patches' size; in training mode a tuple of them alone.
        """
        transformer = self.swinViT
        grid = transformer.patch_embed(patches_ncdhw)
        levels = [_normalised(grid)]
        for stage in ("layers1", "layers2", "layers3", "layers4"):
            grid = _stage(getattr(transformer, stage)[0], grid)
            levels.append(_normalised(grid))
        features = self.encoder10(levels[4])
        features = self.decoder5(features, levels[3])
        features = self.decoder4(features, self.encoder4(levels[2]))
        features = self.decoder3(features, self.encoder3(levels[1]))
        features = self.decoder2(features, self.encoder2(levels[0]))
        features = self.decoder1(features, self.encoder1(patches_ncdhw))
        logits = self.out(features)
        return (logits,) if self.training else logits


def _normalised(grid_ncdhw: torch.Tensor) -> torch.Tensor:
    """Layer norm over the channels of each place, without parameters."""
    channels_last = grid_ncdhw.permute(0, 2, 3, 4, 1)
    return F.layer_norm(channels_last, channels_last.shape[-1:]).permute(0, 4, 1, 2, 3)


def _stage(layer: Any, grid_ncdhw: torch.Tensor) -> torch.Tensor:
    """A stage of the transformer: its blocks, then the merging that halves the grid and doubles channels."""
    size = grid_ncdhw.shape[2:]
    window, shift = get_window_size(size, layer.window_size, layer.shift_size)
    mask = shift_mask(size, window, shift, grid_ncdhw.device) if any(shift) else None
    grid_ndhwc = grid_ncdhw.permute(0, 2, 3, 4, 1).contiguous()
    for block in layer.blocks:
        grid_ndhwc = block(grid_ndhwc, mask)
    merged: torch.Tensor = layer.downsample(grid_ndhwc)
    return merged.permute(0, 4, 1, 2, 3)


def shift_mask(size: Any, window: Any, shift: Any, device: torch.device) -> torch.Tensor:
    """What keeps a token from those that the cyclic shift brought next to it: mask_wtt, 0 or -100.

    The last window of an axis holds what lay at its end and what came from its beginning: its tokens before
    and after the shift do not see each other (MONAI's compute_mask).

    Args:
        size: of the grid, before it is padded to whole windows.
        window, shift: of each axis; a shift of 0 leaves its axis alone.
    """
    regions = torch.zeros(1, 1, 1, 1, 1, device=device)
    for axis, (edge, one, by) in enumerate(zip(size, window, shift, strict=True)):
        padded = -(-edge // one) * one
        places = torch.arange(padded, device=device)
        region = (places >= padded - one).float() + (places >= padded - by).float() * (by > 0)
        shape = [1] * 5
        shape[1 + axis] = padded
        regions = 3 * regions + region.reshape(shape)
    of_window_wt = window_partition(regions, window)[..., 0]
    apart_wtt = of_window_wt[:, None] != of_window_wt[:, :, None]
    return apart_wtt * _FORBIDDEN
