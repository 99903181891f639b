"""Scores of classes over cases: AUC, accuracy.

Axes: n case, k class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.stats


def auc(scores_n: npt.ArrayLike, positive_n: npt.ArrayLike) -> float | None:
    """Area under the ROC curve by Mann and Whitney's U: how often a positive case scores above a negative
    one, ties counting half. None where either is missing."""
    scores, positive = np.asarray(scores_n, np.float64), np.asarray(positive_n, bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    ranks = scipy.stats.rankdata(scores)
    u = float(ranks[positive].sum()) - positives * (positives + 1) / 2
    return u / (positives * negatives)


def macro_auc(probabilities_nk: npt.NDArray[np.floating], truth_n: npt.ArrayLike) -> float | None:
    """Mean over classes of each against the rest, where that is defined; of two classes both are the same."""
    truth = np.asarray(truth_n)
    found = [auc(probabilities_nk[:, k], truth == k) for k in range(probabilities_nk.shape[1])]
    defined = [value for value in found if value is not None]
    return sum(defined) / len(defined) if defined else None


def accuracy(probabilities_nk: npt.NDArray[np.floating], truth_n: npt.ArrayLike) -> float:
    """Share of the cases, at least one, whose most probable class is theirs."""
    return float((probabilities_nk.argmax(1) == np.asarray(truth_n)).mean())
