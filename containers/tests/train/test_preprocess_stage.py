"""The preprocess stage: from records to arrays, case by case."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from small_dataset import SmallDataset

from voxelburst.stage import execute
from voxelburst.stages import preprocess


@pytest.fixture
def dataset(tmp_path: Path) -> SmallDataset:
    return SmallDataset(tmp_path)


def test_writes_the_arrays_of_each_case_and_says_what_it_did(dataset: SmallDataset) -> None:
    assert execute("preprocess", preprocess.run, dataset.preprocess_task()) == 0
    result = dataset.result("preprocess")
    assert (result["cases"], result["done"], result["skipped"]) == (4, 4, 0)
    assert result["volumesPerSecond"] > 0
    assert result["host"]["versions"]["torch"] != "not installed"
    for case_id in dataset.ids:
        prefix = dataset.arrays_prefix(case_id)
        meta = dataset.store.read_json(f"{prefix}meta.json")
        image = np.load(io.BytesIO(dataset.store.read(f"{prefix}image.npy")))
        label = np.load(io.BytesIO(dataset.store.read(f"{prefix}label.npy")))
        found = np.load(io.BytesIO(dataset.store.read(f"{prefix}foreground.npz")))
        assert image.dtype == np.float32
        assert label.dtype == np.int8
        assert image.flags.c_contiguous
        assert image.shape == (1, *meta["shapeDhw"])
        assert label.shape == tuple(meta["shapeDhw"])
        assert abs(image.mean()) < 1e-4
        assert image.std() == pytest.approx(1, abs=1e-4)
        assert meta["caseId"] == case_id
        assert sorted(found.files) == ["1", "2"]
        assert len(found["1"]) == 125
        assert image[0][label == 1].mean() > 1 > -1 > image[0][label == 2].mean()
    assert result["voxels"] == sum(
        int(np.prod(dataset.store.read_json(f"{dataset.arrays_prefix(c)}meta.json")["shapeDhw"]))
        for c in dataset.ids
    )


def test_redoes_only_the_case_without_its_meta_and_writes_the_same_bytes(
    dataset: SmallDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    task = dataset.preprocess_task()
    assert execute("preprocess", preprocess.run, task) == 0
    prefix = dataset.arrays_prefix("case-2")
    before = {n: dataset.store.read(prefix + n) for n in dataset.store.names(prefix)}
    (dataset.root / "artefacts" / f"{prefix}meta.json").unlink()
    capsys.readouterr()
    assert execute("preprocess", preprocess.run, task) == 0
    result = dataset.result("preprocess")
    assert (result["done"], result["skipped"]) == (1, 3)
    assert {n: dataset.store.read(prefix + n) for n in dataset.store.names(prefix)} == before
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["done"] == events[-1]["total"] == 4
    assert events[-1]["unit"] == "cases"


def test_a_case_without_a_label_gets_an_image_and_nothing_else(dataset: SmallDataset) -> None:
    record_key = next(
        line["recordKey"] for line in _lines(dataset, dataset.preprocess_task()) if line["caseId"] == "case-1"
    )
    record = dataset.store.read_json(record_key)
    del record["label"]
    record["split"] = "test"
    dataset.store.write_json(record_key, record)
    assert execute("preprocess", preprocess.run, dataset.preprocess_task()) == 0
    assert dataset.store.names(dataset.arrays_prefix("case-1")) == ["image.npy", "meta.json"]


def _lines(dataset: SmallDataset, task_uri: str) -> list[dict]:
    task = json.loads(Path(task_uri.removeprefix("file://")).read_text())
    return list(dataset.store.read_lines(task["casesKey"]))
