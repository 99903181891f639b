"""One trained and compiled dataset for all tests here: making it takes seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from trained_dataset import TrainedDataset, run_stage


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> TrainedDataset:
    """Trained, and compiled to ONNX Runtime. Not to be written to: ask for ``dataset`` for that."""
    dataset = TrainedDataset(tmp_path_factory.mktemp("trained"))
    assert run_stage("compile", dataset.compile_task("onnxruntime")) == 0
    return dataset


@pytest.fixture
def dataset(compiled: TrainedDataset, tmp_path: Path) -> TrainedDataset:
    """A copy of the compiled dataset, the test's own."""
    root = tmp_path / "run"
    shutil.copytree(compiled.root, root)
    copy = object.__new__(TrainedDataset)
    copy.root, copy.plan = root, compiled.plan
    copy.store = type(compiled.store)(f"file://{root}/artefacts/")
    return copy


@pytest.fixture(autouse=True)
def no_array_index(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """The tests run as a plain job; call it with an index to be a child of an array."""

    def become(index: int | None) -> None:
        if index is None:
            monkeypatch.delenv("AWS_BATCH_JOB_ARRAY_INDEX", raising=False)
        else:
            monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", str(index))

    become(None)
    return become
