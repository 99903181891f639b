"""Dice + cross-entropy over the supervised levels (recipe.md, 4).

Axes: n sample, k class, d h w space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F

SMOOTH = 1e-5  # nnU-Net's, in numerator and denominator


def segmentation_loss(
    logits: Sequence[torch.Tensor],
    label_ndhw: torch.Tensor,
    weights: Sequence[float],
    *,
    batch_dice: bool,
    share: float = 1.0,
) -> torch.Tensor:
    """Weighted sum over levels of mean cross-entropy plus negative soft Dice.

    Args:
        logits: logits_nkdhw of each level, finest first.
        label_ndhw: classes, at the finest level; coarser ones are taken from it by nearest-exact sampling.
        weights: of the levels, of sum 1.
        batch_dice: pool intersections and sums over the global batch instead of taking each sample's Dice.
        share: this rank's samples x ranks / global batch: makes DDP's mean over ranks the mean over samples.
    """
    total = torch.zeros((), device=label_ndhw.device)
    for weight, level_nkdhw in zip(weights, logits, strict=True):
        level_ndhw = label_ndhw
        if level_nkdhw.shape[2:] != label_ndhw.shape[1:]:
            level_ndhw = F.interpolate(
                label_ndhw[:, None].float(), size=level_nkdhw.shape[2:], mode="nearest-exact"
            )[:, 0]
        level_ndhw = level_ndhw.long()
        level_nkdhw = level_nkdhw.float()  # sums over millions of voxels do not fit half precision
        entropy = share * F.cross_entropy(level_nkdhw, level_ndhw)
        dice = soft_dice(level_nkdhw, level_ndhw, batch_dice=batch_dice)
        total = total + weight * (entropy - (dice if batch_dice else share * dice))
    return total


def soft_dice(logits_nkdhw: torch.Tensor, label_ndhw: torch.Tensor, *, batch_dice: bool) -> torch.Tensor:
    """Mean soft Dice of the foreground classes: linear denominator, per sample or pooled over the batch."""
    probability = logits_nkdhw.softmax(1)[:, 1:]
    foreground = torch.arange(1, logits_nkdhw.shape[1], device=label_ndhw.device).reshape(1, -1, 1, 1, 1)
    reference = (label_ndhw[:, None] == foreground).to(probability.dtype)
    intersection = (probability * reference).sum((2, 3, 4))
    sums = probability.sum((2, 3, 4)) + reference.sum((2, 3, 4))
    if batch_dice:
        intersection, sums = _pooled(intersection.sum(0)), _pooled(sums.sum(0))
    return ((2 * intersection + SMOOTH) / (sums + SMOOTH)).mean()


def _pooled(values: torch.Tensor) -> torch.Tensor:
    """Summed over ranks, with a gradient: every rank computes the same loss from it."""
    if not dist.is_initialized():
        return values
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(values)


@torch.no_grad()
def overlaps(logits_nkdhw: torch.Tensor, label_ndhw: torch.Tensor) -> torch.Tensor:
    """Of hard labels, pooled over the batch: (2 x foreground classes) of 2TP and of 2TP + FP + FN."""
    classes = logits_nkdhw.shape[1]
    predicted, reference = (
        F.one_hot(x.long(), classes)[..., 1:].reshape(-1, classes - 1).float()
        for x in (logits_nkdhw.argmax(1), label_ndhw)
    )
    return torch.stack([2 * (predicted * reference).sum(0), predicted.sum(0) + reference.sum(0)])
