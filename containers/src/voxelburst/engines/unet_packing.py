"""Weights and scales of a U-Net's program: fp16 as they are, 8 bits with the inputs' scales folded in."""

from __future__ import annotations

import torch

TYPES = {"fp16": torch.float16, "fp8": torch.float8_e4m3fn, "int8": torch.int8}
_LARGEST = {"fp8": 448.0, "int8": 127.0}

# The largest magnitude of each channel of a stored activation, by the name of the step that writes it.
Scales = dict[str, torch.Tensor]


def scale_of(precision: str, amplitudes: Scales, name: str, channels: int) -> torch.Tensor:
    """What one step of a stored activation's type is worth, a channel."""
    if precision == "fp16":
        return torch.ones(channels)
    # A channel that calibration never saw active keeps a harmless scale.
    return amplitudes[name].clamp(min=1e-3) / _LARGEST[precision]


def packed_weights(
    precision: str,
    amplitudes: Scales,
    weight_tnc: torch.Tensor,
    from_names: tuple[str, ...],
    where: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (taps, outputs, inputs) of the precision's type, and the scale of each output.

    Args:
        from_names: the activations that the inputs are, in equal shares.
    """
    share = weight_tnc.shape[2] // len(from_names)
    inputs = torch.cat([scale_of(precision, amplitudes, name, share) for name in from_names])
    folded = weight_tnc.detach().float().cpu() * inputs
    if precision == "fp16":
        return folded.to(where, torch.float16).contiguous(), torch.ones(weight_tnc.shape[1], device=where)
    scale = folded.abs().amax((0, 2)).clamp(min=1e-12) / _LARGEST[precision]
    stored = folded / scale[:, None]
    if precision == "int8":
        stored = stored.round()
    return stored.to(TYPES[precision]).to(where).contiguous(), scale.to(where)
