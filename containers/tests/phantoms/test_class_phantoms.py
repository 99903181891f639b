"""Phantoms of classes: balanced, without labels, and no trivial statistic tells the classes apart."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from voxelburst import phantoms
from voxelburst.metrics.classification import auc

# What no single number of an image may reach, whichever direction is taken; a network reaches 0.9 and more.
_MOST_AUC = 0.75
Volumes = list[tuple[np.ndarray, float, bool]]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    """Image (Hounsfield units), mm3 a voxel and whether it has a lesion, of 80 cases."""
    out = tmp_path_factory.mktemp("classes") / "phantoms"
    arguments = ["--cases", "80", "--test-cases", "1", "--size", "28", "--dicom", "0", "--classes"]
    assert phantoms.main(["--out", str(out), "--seed", "11", *arguments]) == 0
    manifest = json.loads((out / "dataset.json").read_text())
    assert manifest["classes"] == ["without-lesion", "with-lesion"]
    assert not (out / "labelsTr").exists()
    found = []
    for entry in manifest["training"]:
        assert "label" not in entry
        image = nib.load(out / entry["image"])
        mm3 = float(np.prod(image.header.get_zooms()))
        found.append((np.asarray(image.dataobj), mm3, entry["class"] == "with-lesion"))
    return found


def _separation(statistic: list[float], truth: list[bool]) -> float:
    found = auc(statistic, truth)
    assert found is not None
    return max(found, 1 - found)


def test_the_classes_are_of_equal_size(volumes: Volumes) -> None:
    assert sum(lesion for *_, lesion in volumes) == 40


def test_neither_mean_nor_maximum_nor_any_threshold_separates_the_classes(volumes: Volumes) -> None:
    truth = [lesion for *_, lesion in volumes]
    means = [float(image.mean()) for image, *_ in volumes]
    maxima = [float(image.max()) for image, *_ in volumes]
    best = {"mean": _separation(means, truth), "maximum": _separation(maxima, truth)}
    for threshold in range(-150, 200, 5):
        counts = [int((image > threshold).sum()) for image, *_ in volumes]
        shares = [count / image.size for count, (image, *_) in zip(counts, volumes, strict=True)]
        sizes = [count * mm3 for count, (_, mm3, _) in zip(counts, volumes, strict=True)]
        best[f"share above {threshold} HU"] = _separation(shares, truth)
        best[f"volume above {threshold} HU"] = _separation(sizes, truth)
    assert {name: value for name, value in best.items() if value >= _MOST_AUC} == {}
