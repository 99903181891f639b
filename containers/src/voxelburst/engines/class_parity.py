"""The parity gate of classes: an engine may not tell them apart worse than FP32 does.

Axes: n case, c channel, k class, d h w space in the arrays' order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from ..contract import ClassParity, Parity, Zyx
from ..inference.whole import centred
from ..metrics.classification import accuracy, macro_auc
from .engine import Engine

LARGEST_FALL = 0.002
LARGEST_PROBABILITY_DIFFERENCE = 0.02
MOST_CASES = 256

RULE = (
    f"the engine against FP32 PyTorch on whole validation cases (at most {MOST_CASES}): neither AUC nor "
    f"accuracy falls by more than {LARGEST_FALL}, no probability differs by more than "
    f"{LARGEST_PROBABILITY_DIFFERENCE}, and every logit is finite"
)


def compare(
    reference: Engine, engine: Engine, cases: Iterable[tuple[torch.Tensor, int]], patch: Zyx
) -> Parity:
    """Runs both engines over the cases, without mirroring.

    Args:
        reference: FP32.
        cases: (image_cdhw as prepared, the index of its class), at least one; read one at a time.
    """
    truth: list[int] = []
    pairs: list[list[torch.Tensor]] = []
    for image_cdhw, class_index in cases:
        if len(truth) == MOST_CASES:
            break
        volume_ncdhw = centred(image_cdhw, patch)[None]
        pairs.append([one(volume_ncdhw.to(one.device))[0].cpu() for one in (reference, engine)])
        truth.append(class_index)
    logits = [torch.stack(side) for side in zip(*pairs, strict=True)]
    finite = bool(logits[1].isfinite().all())
    probabilities = [side.softmax(1).nan_to_num().numpy() for side in logits]
    (auc_before, auc_after), (right_before, right_after) = (
        [measure(side, truth) for side in probabilities] for measure in (macro_auc, accuracy)
    )
    apart = float(np.abs(probabilities[0] - probabilities[1]).max())
    largest = float((logits[0] - logits[1]).abs().max())
    within = (
        (auc_before or 0.0) - (auc_after or 0.0) <= LARGEST_FALL
        and (right_before or 0.0) - (right_after or 0.0) <= LARGEST_FALL
        and apart <= LARGEST_PROBABILITY_DIFFERENCE
    )
    return Parity(
        cases=len(truth),
        mean_dice_fp32=None,
        mean_dice_engine=None,
        largest_logit_difference=largest if math.isfinite(largest) else float(np.finfo(np.float32).max),
        argmax_agreement=float((probabilities[0].argmax(1) == probabilities[1].argmax(1)).mean()),
        passed=within and finite,
        rule=RULE,
        classification=ClassParity(
            auc_fp32=auc_before,
            auc_engine=auc_after,
            accuracy_fp32=right_before or 0.0,
            accuracy_engine=right_after or 0.0,
            largest_probability_difference=apart,
        ),
    )
