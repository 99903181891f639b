"""What a training of classes minimises, and how it is watched.

Axes: n sample, k class.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..contract import Zyx
from ..errors import StageError
from ..loaders.class_loader import ClassCases, validation_volumes
from ..metrics.classification import accuracy, macro_auc
from .strategy import Strategy

MOST_WATCHED = 64


def class_loss(
    logits_nk: torch.Tensor, class_n: torch.Tensor, weights_k: torch.Tensor, *, share: float = 1.0
) -> torch.Tensor:
    """Mean over the samples of cross-entropy times the weight of the sample's class.

    Not divided by the batch's weights, as PyTorch's own is: a rare class would count less in its own batch.

    Args:
        share: this rank's samples x ranks / global batch: makes DDP's mean over ranks the mean over samples.
    """
    entropy_n = F.cross_entropy(logits_nk.float(), class_n, reduction="none")
    return share * (entropy_n * weights_k[class_n]).mean()


@torch.no_grad()
def watched_scores(
    network: nn.Module, cases: ClassCases, patch: Zyx, strategy: Strategy, device: torch.device
) -> tuple[float | None, float]:
    """(AUC, accuracy) over the validation cases, of which at most MOST_WATCHED, evenly chosen, are seen.

    Raises:
        StageError: LogitsNotFinite.
    """
    network.eval()
    step = -(-len(cases) // MOST_WATCHED)
    wanted, probabilities, truth = strategy.autocast_type, [], []
    for volume_ncdhw, class_index in validation_volumes(cases, patch, step):
        image_ncdhw = volume_ncdhw.to(device).contiguous(memory_format=strategy.layout)
        with torch.autocast(device.type, wanted, enabled=wanted is not None):
            logits_nk = network(image_ncdhw)
        probabilities.append(logits_nk.float().softmax(1).cpu().numpy())
        truth.append(class_index)
    network.train()
    probabilities_nk = np.concatenate(probabilities)
    if not np.isfinite(probabilities_nk).all():
        raise StageError(
            "LogitsNotFinite",
            "The network's outputs for a validation case are not finite.",
            "Check the intensities of the cases; set train.precision to fp32.",
            allowed="finite numbers",
        )
    return macro_auc(probabilities_nk, truth), accuracy(probabilities_nk, truth)
