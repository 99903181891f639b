"""The parity gate: an engine's Dice may not fall behind FP32's (DESIGN.md, compile).

Both run the same windows of real validation cases.
Axes: n window, c channel, k class, d h w space in the arrays' order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from ..contract import Parity, Zyx
from ..errors import StageError
from ..inference.windows import window_grid
from ..metrics.overlap import confusion, dice
from .engine import Engine

LARGEST_FALL_OF_MEAN = 0.002
LARGEST_FALL_OF_CASE = 0.02
# Each run by both: seconds for the demo's net on two cores and for the reference net on an H100.
MOST_WINDOWS = 64
MOST_CASES = 32
# Block of a large case, in patches an axis: eight half overlapping windows.
_BLOCK_PATCHES, _OVERLAP = 1.5, 0.5

RULE = (
    "Dice of the engine against FP32 PyTorch on the same windows of validation cases (at most "
    f"{MOST_CASES} cases and {MOST_WINDOWS} windows, of a large case {_BLOCK_PATCHES} patches an axis "
    "around its foreground), in the arrays' grid: neither the mean nor any class falls by more than "
    f"{LARGEST_FALL_OF_MEAN}, no case by more than {LARGEST_FALL_OF_CASE}, and every logit is finite"
)

Dices = list[float | None]


@dataclass(frozen=True)
class ParityCase:
    """image_cdhw: float32; label_dhw: int8, what is not positive is background; both prepared."""

    case_id: str
    image_cdhw: npt.NDArray[np.float32]
    label_dhw: npt.NDArray[np.int8]


@dataclass
class _Comparison:
    classes: int
    case_ids: list[str] = field(default_factory=list)
    reference: list[Dices] = field(default_factory=list)
    engine: list[Dices] = field(default_factory=list)
    largest_difference: float = 0.0
    agreeing: int = 0
    voxels: int = 0
    windows: int = 0


def compare(
    reference: Engine, engine: Engine, cases: Iterable[ParityCase], patch: Zyx, classes: int
) -> Parity:
    """Runs both engines over the cases' windows, half overlapping, without mirroring.

    Args:
        reference: FP32.
        cases: in the order in which they count until the limits are reached; read one at a time.
        classes: labels, background included.

    Returns:
        what was found, ``passed`` only where the rule holds.
    """
    found = _Comparison(classes)
    for case in cases:
        image_cdhw, label_dhw = _block(case, patch)
        d, h, w = label_dhw.shape
        windows = len(window_grid((d, h, w), patch, _OVERLAP))
        # At least one case is compared, however many windows it has.
        if found.windows and (found.windows + windows > MOST_WINDOWS or len(found.case_ids) == MOST_CASES):
            break
        _compare_case(found, reference, engine, image_cdhw, label_dhw, patch)
        found.case_ids.append(case.case_id)
    return _judged(found)


def refuse(parity: Parity) -> None:
    """Raises ParityFailed where the gate is not passed."""
    if not parity.passed:
        raise refusal(parity)


def refusal(parity: Parity) -> StageError:
    """ParityFailed, with what was found."""

    def shown(value: float | None) -> str:
        return "none" if value is None else f"{value:.4f}"

    remedy = "Use the engine torch, or another precision or version of this engine."
    if parity.classification:
        one = parity.classification
        return StageError(
            "ParityFailed",
            f"The engine tells classes apart worse than FP32 does: AUC {shown(one.auc_engine)} against "
            f"{shown(one.auc_fp32)}, accuracy {one.accuracy_engine:.4f} against {one.accuracy_fp32:.4f} on "
            f"{parity.cases} validation cases.",
            remedy,
            field="parity",
            got=f"largest difference of a probability {one.largest_probability_difference:.4g}",
            allowed=parity.rule,
        )
    return StageError(
        "ParityFailed",
        f"The engine's masks are worse than FP32's: mean Dice {shown(parity.mean_dice_engine)} against "
        f"{shown(parity.mean_dice_fp32)} on {parity.cases} validation cases, "
        f"{parity.argmax_agreement:.2%} of voxels agree.",
        remedy,
        field="parity",
        got=f"largest difference of a logit {parity.largest_logit_difference:.4g}",
        allowed=parity.rule,
    )


def _block(case: ParityCase, patch: Zyx) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """The case, or of a large one the block around the middle of its foreground."""
    foreground_dhw = case.label_dhw > 0
    window = []
    for axis, (size, patch_size) in enumerate(zip(case.label_dhw.shape, patch, strict=True)):
        where = np.flatnonzero(foreground_dhw.any(tuple(a for a in range(3) if a != axis)))
        middle = (where[0] + where[-1] + 1) / 2 if len(where) else size / 2
        length = min(size, math.floor(patch_size * _BLOCK_PATCHES))
        start = min(max(0, round(float(middle) - length / 2)), size - length)
        window.append(slice(start, start + length))
    return case.image_cdhw[(slice(None), *window)], case.label_dhw[tuple(window)]


def _compare_case(
    found: _Comparison,
    reference: Engine,
    engine: Engine,
    image_cdhw: npt.NDArray[np.float32],
    label_dhw: npt.NDArray[np.int8],
    patch: Zyx,
) -> None:
    d, h, w = label_dhw.shape
    grid = window_grid((d, h, w), patch, _OVERLAP)
    found.windows += len(grid)
    # A copy: what is mapped from a file cannot be written to, which torch warns of.
    image = torch.from_numpy(np.array(image_cdhw))
    sums = [torch.zeros((found.classes, d, h, w)) for _ in range(2)]
    step = min(reference.batch, engine.batch)
    for start in range(0, len(grid), step):
        indices = range(start, min(start + step, len(grid)))
        windows_ncdhw = torch.stack([grid.cut(image, index) for index in indices])
        logits = [one(windows_ncdhw.to(one.device)).cpu() for one in (reference, engine)]
        difference = (logits[0] - logits[1]).abs().max()
        # NaN compares as nothing: it must not pass for a small difference.
        found.largest_difference = max(
            found.largest_difference, float(difference) if difference.isfinite() else math.inf
        )
        found.agreeing += int((logits[0].argmax(1) == logits[1].argmax(1)).sum())
        found.voxels += logits[0][:, 0].numel()
        for total, window_logits in zip(sums, logits, strict=True):
            for index, window_kdhw in zip(indices, window_logits, strict=True):
                grid.add(total, index, window_kdhw)
    truth = np.clip(label_dhw, 0, None).astype(np.uint8)
    for total, dices in zip(sums, (found.reference, found.engine), strict=True):
        counts = confusion(truth, total.argmax(0).numpy().astype(np.uint8), found.classes)
        sizes = [(counts[k].sum(), counts[:, k].sum(), counts[k, k]) for k in range(1, found.classes)]
        dices.append([dice(int(r), int(p), int(both)) for r, p, both in sizes])


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _judged(found: _Comparison) -> Parity:
    """Means over cases for each class, then over classes (nnU-Net's order)."""
    by_class = [[_mean(case[k] for case in side) for k in range(found.classes - 1)] for side in _sides(found)]
    by_case = [[_mean(case) for case in side] for side in _sides(found)]
    means = [_mean(side) for side in by_class]

    def falls(before: float | None, after: float | None) -> float:
        return (before or 0.0) - (after if after is not None else (before or 0.0))

    within = (
        falls(means[0], means[1]) <= LARGEST_FALL_OF_MEAN
        and all(falls(a, b) <= LARGEST_FALL_OF_MEAN for a, b in zip(*by_class, strict=True))
        and all(falls(a, b) <= LARGEST_FALL_OF_CASE for a, b in zip(*by_case, strict=True))
    )
    finite = math.isfinite(found.largest_difference)
    return Parity(
        cases=len(found.case_ids),
        mean_dice_fp32=means[0],
        mean_dice_engine=means[1],
        largest_logit_difference=found.largest_difference if finite else float(np.finfo(np.float32).max),
        argmax_agreement=found.agreeing / found.voxels if found.voxels else 1.0,
        passed=within and finite,
        rule=RULE,
    )


def _sides(found: _Comparison) -> tuple[list[Dices], list[Dices]]:
    return found.reference, found.engine
