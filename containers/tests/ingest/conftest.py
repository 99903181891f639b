"""Fixtures of the ingest tests."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from ingest_drop import Drop


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Drop:
    monkeypatch.delenv("VOXELBURST_PSEUDONYM_KEY", raising=False)
    return Drop(root=tmp_path, monkeypatch=monkeypatch, capsys=capsys)


@pytest.fixture
def edit_header() -> Callable[..., None]:
    """Rewrites fields of a NIfTI-1 header in place, gzip or not, as a broken tool would."""

    def edit(path: Path, **fields: Any) -> None:
        content = bytearray(gzip.decompress(path.read_bytes()))
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(content), mtime=0))

    return edit
