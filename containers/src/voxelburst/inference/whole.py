"""A whole volume through an engine once: its class; the counterpart of sliding_window.py.

Axes: n sample, c channel, k class, d h w space in the arrays' order.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..contract import Classified, ModelFolder, Zyx
from ..engines import Engine


def centred(image_cdhw: torch.Tensor, patch: Sequence[int]) -> torch.Tensor:
    """The volume in the middle of a patch: padded with zeros, the odd voxel behind, or cut on both sides."""
    padding: list[int] = []
    for axis, (size, edge) in enumerate(zip(image_cdhw.shape[1:], patch, strict=True), 1):
        if size > edge:
            image_cdhw = image_cdhw.narrow(axis, (size - edge) // 2, edge)
        before = max(0, edge - size) // 2
        padding = [before, max(0, edge - size) - before, *padding]
    return F.pad(image_cdhw, padding) if any(padding) else image_cdhw.contiguous()


@dataclass(frozen=True)
class Seen:
    """probabilities_k: of sum 1, on the CPU. seconds: the model took, mirrored passes included."""

    probabilities_k: torch.Tensor
    seconds: float


class WholeVolume:
    """Classifies volumes by an engine; mirroring: the mean of probabilities over all eight flips."""

    def __init__(self, engine: Engine, patch: Zyx, *, mirroring: bool) -> None:
        self.engine = engine
        self._patch = patch
        count = 4 if mirroring else 1
        self._flips = [flip for n in range(count) for flip in itertools.combinations((2, 3, 4), n)]

    def __call__(self, image_cdhw: torch.Tensor) -> Seen:
        volume_ncdhw = centred(image_cdhw.to(self.engine.device), self._patch)[None]
        began = time.perf_counter()
        passes = [self.engine(volume_ncdhw.flip(flip) if flip else volume_ncdhw) for flip in self._flips]
        probabilities_k = torch.cat([logits_nk.cpu().softmax(1) for logits_nk in passes]).mean(0)
        return Seen(probabilities_k, time.perf_counter() - began)


def classified(model: ModelFolder, probabilities_k: torch.Tensor, reference: str | None) -> Classified:
    """Probabilities by the model's names of its classes."""
    assert model.classes
    shares = [round(p, 6) for p in probabilities_k.double().tolist()]
    return Classified(
        probabilities=dict(zip(model.classes, shares, strict=True)),
        predicted=model.classes[int(probabilities_k.argmax())],
        reference=reference,
    )
