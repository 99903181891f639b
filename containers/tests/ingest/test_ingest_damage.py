"""Damaged files condemn their case, never the stage: whatever a byte is, it ends in a volume or a code."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import ct_series
import nibabel as nib
import pytest
from ingest_drop import AFFINE, image_zyx
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from voxelburst.dicom import read_series
from voxelburst.storage import Store
from voxelburst.volumes import Refusal
from voxelburst.volumes.nifti import read_nifti

_HEADER_BYTES = 1100


def damage(content: bytes, draw: random.Random, end: int) -> bytes:
    """Changes, removes or inserts a few bytes before ``end``."""
    spoiled = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        at, kind = draw.randrange(min(end, len(spoiled))), draw.random()
        if kind < 0.6:
            spoiled[at] = draw.choice([0, 127, 128, 255, draw.randrange(256)])
        elif kind < 0.8:
            del spoiled[at : at + draw.randint(1, 9)]
        else:
            spoiled[at:at] = draw.randbytes(draw.randint(1, 5))
    return bytes(spoiled)


def series(form: str) -> list[Dataset]:
    if form == "enhanced":
        return [ct_series.enhanced(ct_series.hounsfield_zyx(), [0, 1, 2, 3, 4, 5])]
    slices = ct_series.slices()
    for dataset in slices if form != "plain" else []:
        dataset.compress(form, generate_instance_uid=False)
    return slices


@pytest.mark.parametrize("form", ["plain", "enhanced", RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_damaged_series_becomes_a_volume_or_a_refusal(tmp_path: Path, form: str) -> None:
    ct_series.write(tmp_path / "scan", series(form))
    store, draw = Store(f"file://{tmp_path}/"), random.Random(f"{form}")
    paths = sorted((tmp_path / "scan").iterdir())
    ends: Counter[str] = Counter()
    for _ in range(60):
        path = draw.choice(paths)
        whole = path.read_bytes()
        path.write_bytes(damage(whole, draw, len(whole) if draw.random() < 0.4 else _HEADER_BYTES))
        try:
            read_series(store, "scan/", 4)
            ends["read"] += 1
        except Refusal as refusal:
            assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", refusal.code)
            ends[refusal.code] += 1
        path.write_bytes(whole)
    assert len(ends) > 3  # the damage reached more than one place in the code


def test_a_damaged_nifti_becomes_a_volume_or_a_refusal(tmp_path: Path) -> None:
    path, draw = tmp_path / "image.nii", random.Random(7)
    nib.save(nib.Nifti1Image(image_zyx().T, AFFINE), path)
    whole = path.read_bytes()
    ends: Counter[str] = Counter()
    for _ in range(600):
        path.write_bytes(damage(whole, draw, 352))
        try:
            read_nifti(path)
            ends["read"] += 1
        except Refusal as refusal:
            ends[refusal.code] += 1
    assert len(ends) > 6
