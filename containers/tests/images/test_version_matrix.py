"""The image's parts and the host's driver: what fits, and the pair that is named when something does not."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import RUN, SmallDataset

from voxelburst import version_matrix
from voxelburst.errors import StageError
from voxelburst.version_matrix import Versions, mismatches

SOURCES = Path(version_matrix.__file__).parents[1]

IMAGE = Versions(
    python=(3, 12, 3),
    torch=(2, 11, 0),
    cuda=(13, 2),
    cudnn=(9, 20, 0),
    nccl=(2, 29, 3),
    dali=(2, 4, 0),
    dali_cuda=13,
    driver=(580, 95, 5),
    driver_cuda=(13, 0),
)


def said(**changes: Any) -> list[str]:
    return list(mismatches(dataclasses.replace(IMAGE, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"driver": None, "driver_cuda": None},  # no GPU on this host
        {"driver": (595, 58), "driver_cuda": (13, 2)},
        {"cuda": (12, 8), "dali_cuda": 12, "driver": (535, 183, 1), "driver_cuda": (12, 2)},
        {"cuda": (11, 8), "dali_cuda": 11, "driver": (525, 60, 13), "driver_cuda": (12, 0)},
        # Compatibility libraries stand in front of an older driver's own.
        {"driver": (535, 183, 1), "driver_cuda": (13, 2)},
    ],
    ids=[
        "the image on its AMI",
        "no GPU",
        "newer driver",
        "CUDA 12 on 535",
        "CUDA 11.8 on 525",
        "compat libraries",
    ],
)
def test_takes_what_fits(changes: dict[str, Any]) -> None:
    assert said(**changes) == []


@pytest.mark.parametrize(
    ("changes", "pair"),
    [
        (
            {"driver": (535, 183, 1), "driver_cuda": (12, 2)},
            ["driver is 535.183.1", "CUDA 13.2", "needs driver 580"],
        ),
        ({"driver": (470, 256, 2), "driver_cuda": (13, 2)}, ["driver is 470.256.2", "525 or newer"]),
        (
            {"cuda": (11, 8), "dali_cuda": 11, "driver": (515, 1), "driver_cuda": (11, 7)},
            ["driver is 515.1", "525"],
        ),
        ({"dali_cuda": 12}, ["DALI is built for CUDA 12", "PyTorch for CUDA 13.2"]),
        ({"cuda": (11, 7), "dali_cuda": 11}, ["CUDA is 11.7", "11.8 or newer"]),
        ({"cuda": None, "dali_cuda": None}, ["CUDA is missing", "11.8"]),
        ({"cudnn": (8, 3, 2)}, ["cuDNN is 8.3.2", "8.4 or newer"]),
        ({"nccl": None}, ["NCCL"]),
        ({"python": (3, 8, 19)}, ["Python is 3.8.19", "3.9 or newer"]),
        ({"torch": (1, 13, 1)}, ["PyTorch is 1.13.1", "2.0 or newer"]),
        ({"dali": (1, 11, 1)}, ["DALI is 1.11.1", "1.12 or newer"]),
        ({"dali": None, "dali_cuda": None}, ["DALI is missing", "1.12"]),
    ],
)
def test_names_the_pair_that_does_not_fit_and_no_other(changes: dict[str, Any], pair: list[str]) -> None:
    (problem,) = said(**changes)
    for part in pair:
        assert part in problem


@given(cuda=st.integers(11, 20), driver=st.integers(400, 700))
def test_no_driver_below_525_and_none_below_its_cuda_is_taken_without_compatibility_libraries(
    cuda: int, driver: int
) -> None:
    problems = said(cuda=(cuda, 8), dali_cuda=cuda, driver=(driver, 0), driver_cuda=None)
    least = {11: 525, 12: 525}.get(cuda, 580)
    assert (problems == []) == (driver >= least)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n",
            (580, 95, 5),
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n", (535, 183, 1)),
        ("something else\n", None),
    ],
)
def test_reads_the_driver_as_its_kernel_module_says_it(
    tmp_path: Path, text: str, version: tuple[int, ...] | None
) -> None:
    file = tmp_path / "version"
    file.write_text(text)
    assert version_matrix.driver_version(file) == version


def test_a_host_without_a_driver_has_none(tmp_path: Path) -> None:
    assert version_matrix.driver_version(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("number", "version"), [(8401, (8, 4, 1)), (8902, (8, 9, 2)), (91900, (9, 19, 0)), (None, None)]
)
def test_reads_cudnns_number_of_either_form(number: int | None, version: tuple[int, ...] | None) -> None:
    assert version_matrix._cudnn(number) == version


def test_reads_what_is_installed_here() -> None:
    found = version_matrix.installed()
    assert found.python == sys.version_info[:3]
    assert found.torch and found.torch >= (2, 0)
    assert found.dali and found.dali_cuda


def test_is_silent_outside_of_an_image_and_in_torchruns_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_matrix, "installed", lambda: dataclasses.replace(IMAGE, dali=None))
    monkeypatch.delenv("VOXELBURST_IMAGE", raising=False)
    version_matrix.check_image("train")
    monkeypatch.setenv("VOXELBURST_IMAGE", "gpu")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    version_matrix.check_image("train")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with pytest.raises(StageError, match="DALI is missing") as refused:
        version_matrix.check_image("train")
    assert refused.value.code == "VersionMismatch"


def test_ingest_asks_for_no_gpu_software(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXELBURST_IMAGE", "gpu")
    monkeypatch.setattr(version_matrix, "installed", lambda: pytest.fail("it was asked for"))
    version_matrix.check_image("ingest")


def test_a_container_that_does_not_fit_leaves_the_pair_for_the_report_and_for_sagemaker(
    tmp_path: Path,
) -> None:
    # A DALI for another CUDA, as a wrong pin would bring it.
    other = tmp_path / "packages" / "nvidia_dali_cuda110-1.11.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-dali-cuda110\nVersion: 1.11.0\n")
    dataset = SmallDataset(tmp_path)
    base = tmp_path / "opt-ml"
    (base / "input" / "config").mkdir(parents=True)
    task = dataset.train_task("fp32")
    (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps({"task": task}))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{other.parent}:{SOURCES}",
        "VOXELBURST_IMAGE": "gpu",
        "SAGEMAKER_BASE_DIR": str(base),
    }
    end = subprocess.run(
        [sys.executable, "-m", "voxelburst", "train"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert end.returncode == 1, end.stderr
    document = dataset.store.read_json(f"runs/{RUN}/errors/train-fold0-fp32.json")
    assert document["code"] == "VersionMismatch"
    assert "DALI is 1.11.0" in document["message"]
    assert (base / "output" / "failure").read_text().startswith("VersionMismatch: ")
