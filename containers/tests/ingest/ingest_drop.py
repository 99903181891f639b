"""A dataset on disk, the ingest stage run on it in this process, and what it left."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from voxelburst import stage
from voxelburst.contract import CaseRecord, parse
from voxelburst.stages import ingest
from voxelburst.storage import Store

RUN = "runs/demo-0123456789ab-1/"
AFFINE = np.array([[-1.5, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 2.0, -50], [0, 0, 0, 1]])


def image_zyx(shape: tuple[int, int, int] = (6, 7, 8), seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-900, 900, shape, dtype=np.int16)


def label_zyx(shape: tuple[int, int, int] = (6, 7, 8)) -> NDArray[np.uint8]:
    label = np.zeros(shape, np.uint8)
    label[1:4, 2:5, 2:6] = 1
    label[2:3, 3:4, 3:5] = 2
    return label


def save(path: Path, voxels: NDArray, affine: NDArray = AFFINE, kind: type = nib.Nifti1Image) -> None:
    """Writes voxels_zyx (or czyx) with nibabel, independently of the code under test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(voxels.T, affine, dtype=voxels.dtype), path)


@dataclass
class Drop:
    """The dataset of a test. ``add`` makes a good case; a test then spoils what it is about."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    channels: list[str] = field(default_factory=lambda: ["CT"])
    labels: list[str] = field(default_factory=lambda: ["background", "organ", "lesion"])
    min_slices: int = 4
    shards: int = 2
    out: str = ""
    err: str = ""

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def artefacts(self) -> Store:
        return Store(f"file://{self.root}/artefacts/")

    def image(self, case_id: str = "case-1") -> Path:
        return self.data / f"imagesTr/{case_id}.nii.gz"

    def label(self, case_id: str = "case-1") -> Path:
        return self.data / f"labelsTr/{case_id}.nii.gz"

    def add(self, case_id: str = "case-1", **fields: Any) -> dict[str, Any]:
        """A good NIfTI case and its line; ``fields`` replace parts of the line, None removes them."""
        save(self.image(case_id), image_zyx(seed=len(self.lines) + 1))
        save(self.label(case_id), label_zyx())
        return self.line(case_id, f"imagesTr/{case_id}.nii.gz", **fields)

    def line(self, case_id: str, *images: str, **fields: Any) -> dict[str, Any]:
        line = {
            "caseId": case_id,
            "caseHash": hashlib.sha256(case_id.encode()).hexdigest(),
            "split": "training",
            "images": [{"key": key, "bytes": 1} for key in images],
            "label": {"key": f"labelsTr/{case_id}.nii.gz", "bytes": 1},
            **fields,
        }
        line = {name: value for name, value in line.items() if value is not None}
        self.lines.append(line)
        return line

    @property
    def task_uri(self) -> str:
        return f"{self.artefacts.root_uri}{RUN}tasks/ingest.json"

    def run(self, index: int | None = None) -> int:
        """Runs the stage and returns its exit code; ``out`` and ``err`` are what it printed."""
        self.write_task()
        if index is None:
            self.monkeypatch.delenv("AWS_BATCH_JOB_ARRAY_INDEX", raising=False)
        else:
            self.monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", str(index))
        code = stage.execute("ingest", ingest.run, self.task_uri)
        self.out, self.err = self.capsys.readouterr()
        return code

    def write_task(self) -> None:
        task = {
            "schema": 1,
            "stage": "ingest",
            "taskId": "ingest",
            "runId": "demo-0123456789ab-1",
            "version": "0.1.0",
            "dataset": "demo",
            "datasetUri": f"file://{self.data}/",
            "artefactsUri": self.artefacts.root_uri,
            "runPrefix": RUN,
            "inputHash": "0" * 64,
            "casesKey": f"{RUN}tasks/ingest.cases.jsonl",
            "shards": self.shards,
            "quarantineUri": f"file://{self.root}/quarantine/demo-0123456789ab-1/",
            "definition": {
                "name": "Demo",
                "channels": self.channels,
                "labels": [{"value": v, "name": name} for v, name in enumerate(self.labels)],
            },
            "minSlices": self.min_slices,
        }
        self.artefacts.write_json(f"{RUN}tasks/ingest.json", task)
        self.artefacts.write_lines(f"{RUN}tasks/ingest.cases.jsonl", self.lines)

    def result(self, index: int | None = None) -> dict[str, Any]:
        name = "ingest" if index is None else f"ingest.{index}"
        return self.artefacts.read_json(f"{RUN}results/{name}.json")

    def cases(self, index: int = 0) -> list[dict[str, Any]]:
        return list(self.artefacts.read_lines(f"{RUN}ingest/{index}.cases.jsonl"))

    def quarantined(self, index: int = 0) -> list[dict[str, Any]]:
        return list(self.artefacts.read_lines(f"{RUN}ingest/{index}.quarantine.jsonl"))

    def record(self, case_id: str = "case-1") -> CaseRecord:
        keys = [case["recordKey"] for case in self.cases() if case["caseId"] == case_id]
        assert keys, f"{case_id} was not ingested: {self.quarantined()} {self.err}"
        return parse(CaseRecord, self.artefacts.read_json(keys[0]), "record.json")

    def volume(self, case_id: str = "case-1", channel: int = 0) -> tuple[NDArray, NDArray]:
        """voxels_zyx and affine of a canonical image, as nibabel reads them."""
        image = nib.load(self.artefacts.local(self.record(case_id).images[channel]))
        return np.asarray(image.dataobj).T, image.affine

    def warnings(self, case_id: str = "case-1") -> list[str]:
        return [warning.code for warning in self.record(case_id).warnings]

    def code(self) -> str | None:
        """Runs the stage and returns the quarantine code of its only case, None when that was ingested.

        Whatever the outcome, it is complete: a refusal says all that it must, and leaves nothing behind.
        """
        assert self.run() == 0, self.out + self.err
        refused = self.quarantined()
        if not refused:
            assert [c["caseId"] for c in self.cases()] == [line["caseId"] for line in self.lines]
            return None
        (entry,) = refused
        assert entry["message"].endswith(".") and entry["remedy"].endswith(".")
        assert entry["got"] and entry["allowed"]
        quarantine = Path(self.root / "quarantine/demo-0123456789ab-1" / f"{entry['caseId']}.json")
        assert json.loads(quarantine.read_text()) == entry
        assert not self.artefacts.exists(f"ingest/{self.lines[0]['caseHash']}/record.json")
        assert self.cases() == []
        return entry["code"]
