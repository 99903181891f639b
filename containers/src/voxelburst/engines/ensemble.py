"""The models of several folds as one engine: the mean of their logits (recipe.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contract import Host, ModelFolder
from ..errors import StageError
from .engine import Engine

# What a window is and what its logits mean: members that differ in these cannot be averaged.
_SHARED = ("channels", "labels", "classes", "normalisation", "transpose", "spacing_mm_zyx", "patch")


def check_members(models: Sequence[ModelFolder]) -> None:
    """Raises EnsembleDiffers, naming what two model folders do not share."""
    first = models[0]
    for number, other in enumerate(models[1:], 2):
        for name in _SHARED:
            if getattr(first, name) != getattr(other, name):
                raise StageError(
                    "EnsembleDiffers",
                    f"Model {number} of the ensemble has another {name} than the first.",
                    "Name the model folders of one run's folds: they share a plan.",
                    field="model",
                    got=str(getattr(other, name))[:200],
                    allowed=str(getattr(first, name))[:200],
                )


class Ensemble(Engine):
    """The mean of the members' logits. Members are on one device."""

    def __init__(self, members: Sequence[Engine]) -> None:
        self._members = list(members)
        first = members[0]
        self.name = first.name
        self.precision = first.precision
        self.device = first.device
        self.batch = min(member.batch for member in members)
        self.packages = tuple(dict.fromkeys(name for member in members for name in member.packages))
        self.fallbacks = tuple(dict.fromkeys(said for member in members for said in member.fallbacks))

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        total = self._members[0](windows_ncdhw)
        for member in self._members[1:]:
            total = total.add_(member(windows_ncdhw))
        return total.div_(len(self._members))

    def host(self) -> Host:
        described = super().host()
        for member in self._members:
            described.versions.update(member.host().versions)
        return described
