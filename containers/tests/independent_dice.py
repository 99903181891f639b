"""Dice of masks on disk against labels, by nibabel alone: python independent_dice.py MASKS LABELS -> JSON."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np


def dice(masks: Path, labels: Path) -> dict:
    """Mean over classes of the mean over cases where it is defined (nnU-Net's convention)."""
    scores: dict[int, list[float]] = {}
    cases = sorted(p.name for p in masks.glob("*.nii.gz") if (labels / p.name).exists())
    classes = sorted({int(v) for name in cases for v in np.unique(nib.load(labels / name).dataobj)} - {0})
    for name in cases:
        mask, label = (np.asarray(nib.load(folder / name).dataobj) for folder in (masks, labels))
        for c in classes:
            p, t = mask == c, label == c
            if p.any() or t.any():
                scores.setdefault(c, []).append(2.0 * (p & t).sum() / (p.sum() + t.sum()))
    means = {str(c): float(np.mean(v)) for c, v in scores.items()}
    return {"cases": len(cases), "classes": means, "mean": float(np.mean(list(means.values())))}


if __name__ == "__main__":
    print(json.dumps(dice(Path(sys.argv[1]), Path(sys.argv[2]))))
