"""The contract, the store and the runner that every stage stands on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from voxelburst import contract, stage
from voxelburst.errors import StageError, from_exception
from voxelburst.models import save_weights
from voxelburst.stages import preprocess
from voxelburst.storage import Store
from voxelburst.training.checkpoints import Checkpoints
from voxelburst.volumes import Volume, write_canonical


def preprocess_task(root: Path, **fields: object) -> dict:
    return {
        "schema": 1,
        "stage": "preprocess",
        "taskId": "preprocess",
        "runId": "demo-0123456789ab-1",
        "version": "0.1.0",
        "dataset": "demo",
        "datasetUri": f"file://{root}/data/",
        "artefactsUri": f"file://{root}/artefacts/",
        "runPrefix": "runs/demo-0123456789ab-1/",
        "inputHash": "0" * 64,
        "casesKey": "runs/demo-0123456789ab-1/tasks/preprocess.cases.jsonl",
        "shards": 2,
        "planKey": "runs/demo-0123456789ab-1/plan.json",
        **fields,
    }


def test_a_document_survives_the_way_through_its_dataclass(tmp_path: Path) -> None:
    document = preprocess_task(tmp_path)
    assert contract.to_json(contract.parse(contract.PreprocessTask, document, "task")) == document


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"shards": 0}, "shards", "at least 1"),
        ({"shards": "two"}, "shards", "a whole number"),
        ({"colour": "red"}, "colour", "the fields"),
        ({"runId": None}, "runId", "a value of type string"),
    ],
)
def test_an_invalid_task_names_the_field_and_what_is_allowed(
    tmp_path: Path, change: dict, field: str, said: str
) -> None:
    with pytest.raises(StageError) as caught:
        contract.parse(contract.PreprocessTask, preprocess_task(tmp_path, **change), "task")
    assert caught.value.field == field
    assert said in str(caught.value.allowed)


def test_an_array_child_takes_its_own_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"file://{tmp_path}/artefacts/")
    lines = [
        {
            "caseId": f"c{i}",
            "recordKey": "r",
            "outputPrefix": "preprocess/x/",
            "outputHash": "1" * 64,
        }
        for i in range(5)
    ]
    task = contract.parse(contract.PreprocessTask, preprocess_task(tmp_path), "task")
    store.write_lines(task.cases_key, lines)
    seen = []
    for index in range(2):
        monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", str(index))
        seen.append([c.case_id for c in stage.Stage(task).cases(contract.PreprocessCase)])
    assert seen == [["c0", "c2", "c4"], ["c1", "c3"]]


def test_a_stages_time_begins_with_its_process(tmp_path: Path) -> None:
    script = "import time; time.sleep(0.4); from voxelburst import host; print(host.process_age_seconds())"
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0.4 <= float(ended.stdout) <= time.monotonic() - began + 0.02
    task = contract.parse(contract.PreprocessTask, preprocess_task(tmp_path), "task")
    assert (datetime.now(UTC) - stage.Stage(task, 100.0).started_at).total_seconds() > 99


def test_a_failed_stage_leaves_an_error_document_and_exits_non_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(f"file://{tmp_path}/artefacts/")
    store.write_json("runs/demo-0123456789ab-1/tasks/preprocess.json", preprocess_task(tmp_path))

    def run(task: object, stage: object) -> None:
        raise OSError(28, "No space left on device")

    code = stage.execute("preprocess", run, f"{store.root_uri}runs/demo-0123456789ab-1/tasks/preprocess.json")
    document = store.read_json("runs/demo-0123456789ab-1/errors/preprocess.json")
    assert code == 1
    assert document["code"] == "DiskFull"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["code"] == "DiskFull"


def test_numpys_short_write_is_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full, pytest.raises(OSError) as caught:
        np.zeros(100_000).tofile(full)
    assert caught.value.errno is None  # which is why it needs a rule of its own
    assert from_exception(caught.value).code == "DiskFull"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_what_the_stages_write_with_says_that_the_disk_is_full(small_disk: Path) -> None:
    store = Store(f"file://{small_disk}/")
    weights = torch.nn.Linear(500, 100)
    volume = Volume(voxels_zyx=np.random.default_rng(0).integers(0, 9999, (32, 64, 64)), affine=np.eye(4))
    writers: dict[str, Callable[[], object]] = {
        "arrays": lambda: preprocess._put_array(store, "image.npy", np.zeros((64, 64, 64), np.float32)),
        "volumes": lambda: write_canonical(small_disk / "image.nii.gz", volume),
        "weights": lambda: save_weights(weights, small_disk / "weights.pt"),
        "checkpoints": lambda: Checkpoints(store, "checkpoints/").save(weights.state_dict()),
        "documents": lambda: store.write("document", "x" * 100_000),
    }
    for what, write in writers.items():
        with pytest.raises(OSError) as caught:
            write()
        assert from_exception(caught.value).code == "DiskFull", what
        for left in small_disk.rglob("*"):
            if left.is_file():
                left.unlink()


def test_a_systems_error_is_told_without_its_path() -> None:
    error = from_exception(PermissionError(13, "Permission denied", "/data/jane-doe/ct.nii.gz"))
    assert error.message == "PermissionError: Permission denied"


def test_a_key_that_climbs_out_of_its_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="leads out"):
        Store(f"file://{tmp_path}/").read("a/../../secret")


def test_a_write_that_fails_leaves_the_old_object(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/")
    store.write("k", "old")
    with pytest.raises(TypeError):
        store.write("k", 5)  # type: ignore[arg-type]
    assert store.read("k") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["k"]
