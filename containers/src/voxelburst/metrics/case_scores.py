"""The scores of one case, from its mask and its reference in the image's own grid."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .. import host
from ..contract import ClassScore, Label
from . import surfaces
from .overlap import confusion, dice
from .surfaces import Mm

LabelMap = npt.NDArray[np.uint8]
Box = tuple[slice, slice, slice]


def score_case(
    predicted_zyx: LabelMap,
    reference_zyx: LabelMap,
    labels: list[Label],
    spacing_mm_zyx: Mm,
    nsd_tolerance_mm: float,
    workers: int | None = None,
) -> list[ClassScore]:
    """Dice, HD95 and NSD of each class but background.

    Conventions, by class:
        dice: nnU-Net's: None when both masks are empty, 0 when one is.
        hd95_mm: None when both are empty, the image's diagonal when one is.
        nsd: surface-element NSD at the tolerance; None when both are empty, 0 when one is.

    Args:
        predicted_zyx, reference_zyx: label maps of one shape.
        labels: ascending and consecutive from background 0.
        workers: threads for distances; default: all that this process may keep busy.
    """
    workers = workers or host.cpus()
    counts = confusion(reference_zyx, predicted_zyx, len(labels))
    boxes = [ndimage.find_objects(mask, max_label=len(labels)) for mask in (predicted_zyx, reference_zyx)]
    diagonal_mm = math.dist(
        (0, 0, 0), [n * mm for n, mm in zip(reference_zyx.shape, spacing_mm_zyx, strict=True)]
    )
    scores = []
    for label in labels[1:]:
        value = label.value
        reference_voxels, predicted_voxels = int(counts[value].sum()), int(counts[:, value].sum())
        hd95_mm: float | None = None
        nsd: float | None = None
        if reference_voxels and predicted_voxels:
            box = _union(boxes[0][value - 1], boxes[1][value - 1])
            masks = (predicted_zyx[box] == value, reference_zyx[box] == value)
            one, other = (surfaces.edge_voxels(mask) for mask in masks)
            hd95_mm = surfaces.percentile_95_mm(one, other, spacing_mm_zyx, workers)
            one, other = (surfaces.surface_elements(mask) for mask in masks)
            nsd = surfaces.area_within(one, other, spacing_mm_zyx, nsd_tolerance_mm, workers)
        elif reference_voxels or predicted_voxels:
            hd95_mm, nsd = diagonal_mm, 0.0
        scores.append(
            ClassScore(
                class_name=label.name,
                dice=dice(reference_voxels, predicted_voxels, int(counts[value, value])),
                hd95_mm=None if hd95_mm is None else round(hd95_mm, 4),
                nsd=nsd,
                reference_voxels=reference_voxels,
                predicted_voxels=predicted_voxels,
            )
        )
    return scores


def mean_dice(scores: list[ClassScore]) -> float | None:
    """Mean over the classes that have one; None when none has."""
    defined = [score.dice for score in scores if score.dice is not None]
    return sum(defined) / len(defined) if defined else None


def _union(a: Box, b: Box) -> Box:
    """The box around two boxes. Nothing outside it can be surface or change a distance between surfaces."""
    z, y, x = (slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return z, y, x
