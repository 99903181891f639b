"""One function from a plan's network block to a module."""

from __future__ import annotations

from torch import nn

from ..contract import Network
from ..errors import StageError
from .resenc_unet import ResEncUNet
from .resnet3d import ResNet3d
from .swin_unetr import STRIDES, SwinUnetr
from .unet3d import UNet3d

_UNETS = {"unet3d": UNet3d, "resenc-unet": ResEncUNet}
_NAMES = (*_UNETS, "swin-unetr", "resnet3d")


def build(network: Network) -> nn.Module:
    """The untrained network of a plan.

    Its input is patches_ncdhw. `resnet3d` gives logits_nk of them; the others in eval mode one tensor
    logits_nkdhw, in training mode a tuple of them, finest first, one a deep supervision weight that is not
    zero. Initial weights come from torch's global generator: seed it for repeatable ones.

    Raises:
        StageError: ModelUnknown, when the plan names a model that is not here; NetworkInvalid, when its lists
            contradict each other.
    """
    if network.model not in _NAMES:
        known = ", ".join(_NAMES)
        raise StageError(
            "ModelUnknown",
            f"The plan asks for the model {network.model!r}; known here: {known}.",
            "Set `model` in the recipe to one of them.",
            field="network.model",
            got=network.model,
            allowed=known,
        )
    stages = len(network.features)
    if len(network.strides) != stages or len(network.kernels) != stages:
        raise StageError(
            "NetworkInvalid",
            f"The plan's network has {stages} features, {len(network.strides)} strides and "
            f"{len(network.kernels)} kernels; there must be one of each a stage.",
            "Run the plan stage again.",
            field="network",
        )
    if network.model == "swin-unetr":
        if list(network.strides) != STRIDES:
            raise StageError(
                "NetworkInvalid",
                f"The plan's swin-unetr has {stages} levels or other strides; it has six, halving.",
                "Run the plan stage again.",
                field="network.strides",
            )
        return SwinUnetr(
            input_channels=network.input_channels,
            output_classes=network.output_classes,
            features=list(network.features),
        )
    if network.model == "resnet3d":
        return ResNet3d(
            input_channels=network.input_channels,
            output_classes=network.output_classes,
            features=list(network.features),
        )
    return _UNETS[network.model](
        input_channels=network.input_channels,
        output_classes=network.output_classes,
        features=list(network.features),
        kernels=list(network.kernels),
        strides=list(network.strides),
        coarse_heads=len(supervision_weights(network)) - 1,
    )


def supervision_weights(network: Network) -> list[float]:
    """Weights of the heads that a training computes, finest first, of sum 1.

    nnU-Net gives the coarsest head weight 0: such a head is left out, with the gradient it does not have.
    """
    limit = 1 if network.model in ("swin-unetr", "resnet3d") else max(len(network.features) - 1, 1)
    weights = [w for w in network.deep_supervision_weights[:limit]]
    while len(weights) > 1 and weights[-1] == 0:
        weights.pop()
    total = sum(weights)
    return [w / total for w in weights] if total > 0 else [1.0]


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
