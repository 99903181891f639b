"""The optimizer and its learning rate over the budget."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..contract import frozen

POWER = 0.9


@frozen
class Schedule:
    """nnU-Net's polynomial fall to zero, per step, after a linear rise over some steps."""

    initial: float
    warm_up_steps: int = 0

    def at(self, step: int, total: int | None) -> float:
        """The rate of a step (the first is 0). total: None while a budget in minutes has no steps yet."""
        rise = self.warm_up_steps if total is None else min(self.warm_up_steps, total // 10)
        fall = 1.0 if total is None else (1 - min(step, total) / total) ** POWER
        return self.initial * min(1.0, (step + 1) / max(1, rise)) * fall


# nnU-Net v2's default trainer (recipe.md, 4).
SGD = Schedule(initial=0.01)
_MOMENTUM, _SGD_DECAY = 0.99, 3e-5
# AdamW as PyTorch has it. The rate is the better of 1e-3 and 3e-3 on Task04 at width 16.
ADAMW = Schedule(initial=3e-3, warm_up_steps=50)
# Attention takes less: published recipes of Swin UNETR have 1e-4 over thousands of epochs (recipe.md, 9.2).
SWIN_ADAMW = Schedule(initial=1e-3, warm_up_steps=50)


def optimizer_of(
    name: str, parameters: Iterable[nn.Parameter], model: str = "unet3d"
) -> tuple[torch.optim.Optimizer, Schedule]:
    """A plan's optimizer ("sgd" or "adamw") for a model, fused into one kernel, and its schedule."""
    if name == "sgd":
        sgd = torch.optim.SGD(
            parameters, SGD.initial, _MOMENTUM, weight_decay=_SGD_DECAY, nesterov=True, fused=True
        )
        return sgd, SGD
    schedule = SWIN_ADAMW if model == "swin-unetr" else ADAMW
    return torch.optim.AdamW(parameters, schedule.initial, fused=True), schedule
