"""What is named by URI is refused in words of the request: there is no dataset.json behind it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelburst.errors import StageError
from voxelburst.inference.sources import named_by_uri, read_channels, store_and_key
from voxelburst.volumes.source import read_nifti_at


def refusal_of(uris: list[str], channels: list[str]) -> StageError:
    with pytest.raises(StageError) as refused:
        read_channels(uris, channels)
    assert "dataset.json" not in f"{refused.value.message} {refused.value.remedy} {refused.value.allowed}"
    return refused.value


@pytest.mark.parametrize("name", ["nowhere.nii.gz", "no-folder/"])
def test_a_missing_image_is_told_what_a_request_may_name(tmp_path: Path, name: str) -> None:
    error = refusal_of([f"{tmp_path.as_uri()}/{name}"], ["CT"])
    assert error.code == "ImageMissing"
    assert "NIfTI" in error.remedy and "DICOM" in error.remedy and "slash" in error.remedy


def test_a_folder_without_its_slash_is_told_to_end_in_one(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    error = refusal_of([f"{tmp_path.as_uri()}/series"], ["CT"])
    assert error.code == "NotNifti" and "slash" in error.remedy


def test_a_missing_reference_may_be_left_out(tmp_path: Path) -> None:
    store, key = store_and_key(f"{tmp_path.as_uri()}/label.nii.gz")
    with pytest.raises(StageError) as refused, named_by_uri():
        read_nifti_at(store, key, "Label", is_label=True)
    assert refused.value.code == "LabelMissing"
    assert "`reference`" in refused.value.remedy and "dataset.json" not in refused.value.message


def test_one_3d_image_for_two_channels_is_told_how_many_there_are(tmp_path: Path) -> None:
    voxels = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "one.nii.gz")
    error = refusal_of([f"{tmp_path.as_uri()}/one.nii.gz"], ["T1", "T2"])
    assert error.code == "ChannelsDiffer"
    assert "2 channels" in error.message and "one 3D image" in error.message
