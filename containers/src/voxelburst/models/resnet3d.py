"""ResNet-18 over whole volumes (MONAI's, He et al. 2016 in three dimensions): one vector of logits a volume.

Axes: n sample, c channel, k class, d h w space (the arrays' own order).
"""

from __future__ import annotations

from monai.networks.nets.resnet import ResNet

from ..errors import StageError

_BLOCKS = [2, 2, 2, 2]  # of two convolutions a stage: with stem and head eighteen layers


class ResNet3d(ResNet):
    """MONAI's ResNet-18 with its own initialisation; its width is that of its first stage.

    MONAI's stem keeps the grid and its pooling halves it, as three of its stages do: edges are multiples of
    16. Batch norm, as there: in eval mode it is a scale and a shift, which engines fold into the convolution.
    """

    def __init__(self, *, input_channels: int, output_classes: int, features: list[int]) -> None:
        """features: of the stem and of four stages, 1, 1, 2, 4 and 8 times the width.

        Raises:
            StageError: NetworkInvalid, for other features.
        """
        width = features[0]
        if list(features) != [width, width, 2 * width, 4 * width, 8 * width]:
            raise StageError(
                "NetworkInvalid",
                f"The plan's resnet3d has the features {list(features)}; stem and stages must have 1, 1, 2, "
                "4 and 8 times the width.",
                "Run the plan stage again.",
                field="network.features",
            )
        super().__init__(
            block="basic",
            layers=_BLOCKS,
            block_inplanes=features[1:],
            spatial_dims=3,
            n_input_channels=input_channels,
            num_classes=output_classes,
        )
