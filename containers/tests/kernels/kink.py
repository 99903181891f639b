"""What float32 can tell of a gradient at the activation's kink."""

from __future__ import annotations

import torch

from voxelburst.kernels.norm_activation import SLOPE


def other_side(
    dx: torch.Tensor, terms: torch.Tensor, z: torch.Tensor, scale: torch.Tensor, mean: torch.Tensor
) -> torch.Tensor:
    """dx, with the activation's other slope where float32 cannot tell the side of zero.

    A mean far from zero has a rounding that moves z: at a mean of 1e4 deviations some 1 in 10,000 elements
    change their side, and their gradient with it, however exact the rest is (in float64 with that mean alone
    in float32, dx differs by 1e-2).
    """
    mean32 = mean.float().abs()
    reach = scale.abs() * (torch.nextafter(mean32, torch.full_like(mean32, torch.inf)) - mean32)
    switched = torch.where(z > 0, dx - (1 - SLOPE) * terms, dx + (1 - SLOPE) * terms)
    return torch.where(z.abs() <= reach, switched, dx)
