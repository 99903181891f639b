"""Counts of voxels, from which Dice follows. Masks are label maps in z, y, x."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
# bincount works in 64-bit integers: 4 million voxels at a time keep it below 100 MiB whatever the volume.
_VOXELS_AT_ONCE = 4_000_000


def confusion(
    reference_zyx: npt.NDArray[np.uint8], predicted_zyx: npt.NDArray[np.uint8], labels: int
) -> Counts:
    """Voxels by [reference label, predicted label].

    Args:
        labels: number of label values; both masks hold 0 to ``labels`` - 1.
    """
    counts = np.zeros(labels * labels, np.int64)
    planes = max(1, _VOXELS_AT_ONCE // max(1, reference_zyx[0].size))
    for z in range(0, reference_zyx.shape[0], planes):
        pairs = reference_zyx[z : z + planes].astype(np.uint32)
        pairs *= labels
        pairs += predicted_zyx[z : z + planes]
        counts += np.bincount(pairs.ravel(), minlength=labels * labels)
    return counts.reshape(labels, labels)


def dice(reference_voxels: int, predicted_voxels: int, common_voxels: int) -> float | None:
    """2TP / (2TP + FP + FN); None when both masks are empty, which leaves one empty side at 0.

    nnU-Net's convention (nnunetv2/evaluation/evaluate_predictions.py), where None is NaN.
    """
    total = reference_voxels + predicted_voxels
    return 2.0 * common_voxels / total if total else None
