"""A case that is a DICOM series: written, ingested, and compared with what it was made of."""

from __future__ import annotations

from collections.abc import Callable

import ct_series
import numpy as np
from ct_series import DISTANCE, hounsfield_zyx
from ingest_drop import Drop
from pydicom.dataset import Dataset

Series = list[Dataset]


def ingest(drop: Drop, series: Series, **names: Callable[[int], str]) -> str | None:
    """The quarantine code of a series, or None when it became a volume."""
    ct_series.write(drop.data / "imagesTr/scan", series, **names)
    return code(drop)


def code(drop: Drop) -> str | None:
    if not drop.lines:
        drop.line("case-1", "imagesTr/scan/", label=None, split="test")
    return drop.code()


def assert_volume(drop: Drop, expected_zyx: np.ndarray | None = None, distance: float = DISTANCE) -> None:
    expected_zyx = hounsfield_zyx() if expected_zyx is None else expected_zyx
    voxels_zyx, affine = drop.volume()
    assert np.array_equal(voxels_zyx, expected_zyx)
    assert np.allclose(affine, ct_series.affine(distance), atol=1e-4)


def compressed(syntax: str) -> Callable[[Series], Series]:
    def compress(series: Series) -> Series:
        for dataset in series:
            dataset.compress(syntax, generate_instance_uid=False)
        return series

    return compress
