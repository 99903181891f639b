"""A dataset of a few small volumes in an artefacts store, as ingest and plan would have left it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from voxelburst.storage import Store
from voxelburst.volumes import Volume, write_canonical

RUN = "demo-0123456789ab-1"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class SmallDataset:
    """``cases`` volumes of about 20 voxels an axis with a bright cube (label 1) and a dark one (label 2)."""

    def __init__(self, root: Path, cases: int = 4, **plan: Any) -> None:
        self.root = root
        self.store = Store(f"file://{root}/artefacts/")
        self.ids = [f"case-{i}" for i in range(cases)]
        for number, case_id in enumerate(self.ids):
            self._write_case(number, case_id)
        self.plan = plan_document(self.ids, **plan)
        self.store.write_json(f"runs/{RUN}/plan.json", self.plan)

    def _write_case(self, number: int, case_id: str) -> None:
        rng = np.random.default_rng(number)
        shape = (18 + number % 3, 20, 22)
        image = rng.normal(100, 5, shape).astype(np.float32)
        label = np.zeros(shape, np.uint8)
        z, y, x = 4 + number % 2, 5, 6
        label[z : z + 5, y : y + 5, x : x + 5] = 1
        label[z + 7 : z + 11, y + 6 : y + 11, x + 6 : x + 11] = 2
        image += 40.0 * (label == 1) - 40.0 * (label == 2)
        affine = np.eye(4)
        prefix = f"ingest/{digest(case_id)}/"
        for name, voxels in (("image-0.nii.gz", image), ("label.nii.gz", label)):
            path = self.store.scratch(prefix + name)
            write_canonical(path, Volume(voxels_zyx=voxels, affine=affine))
            self.store.upload(path, prefix + name)
        channel = {"count": 1, "mean": 0, "std": 1, "min": 0, "max": 1, "quantiles": [0.0] * 401}
        record = {
            "schema": 1,
            "caseId": case_id,
            "caseHash": digest(case_id),
            "split": "training",
            "source": {"kind": "nifti"},
            "prefix": prefix,
            "images": [f"{prefix}image-0.nii.gz"],
            "label": f"{prefix}label.nii.gz",
            "shapeZyx": list(shape),
            "spacingMmZyx": [1, 1, 1],
            "affine": affine.tolist(),
            "dtype": "float32",
            "nonzeroBoxZyx": [[0, n] for n in shape],
            "channels": [channel],
            "sha256": {},
            "bytes": 1,
            "warnings": [],
        }
        self.store.write_json(f"{prefix}record.json", record)

    def arrays_prefix(self, case_id: str) -> str:
        return f"preprocess/{digest('arrays of ' + case_id)}/"

    def preprocess_task(self, **fields: Any) -> str:
        """Writes the task of the preprocess stage and returns its URI."""
        lines = [
            {
                "caseId": case_id,
                "recordKey": f"ingest/{digest(case_id)}/record.json",
                "outputPrefix": self.arrays_prefix(case_id),
                "outputHash": digest("arrays of " + case_id),
            }
            for case_id in self.ids
        ]
        return self._task("preprocess", lines, shards=1, **fields)

    def train_task(self, strategy: str = "fp32", **fields: Any) -> str:
        """Writes the task of a training on all cases but the last, which is its validation."""
        lines = [
            {
                "caseId": case_id,
                "part": "validation" if case_id == self.ids[-1] else "train",
                "arraysPrefix": self.arrays_prefix(case_id),
            }
            for case_id in self.ids
        ]
        task = {
            "fold": "fold0",
            "strategy": strategy,
            "gpus": 0,
            "outputPrefix": f"train/{digest(strategy)}/",
            "checkpointMinutes": 1,
            **fields,
        }
        return self._task("train", lines, task_id=f"train-fold0-{strategy}", **task)

    def _task(self, stage: str, lines: list[dict], *, task_id: str | None = None, **fields: Any) -> str:
        task_id = task_id or stage
        cases_key = f"runs/{RUN}/tasks/{task_id}.cases.jsonl"
        self.store.write_lines(cases_key, lines)
        document = {
            "schema": 1,
            "stage": stage,
            "taskId": task_id,
            "runId": RUN,
            "version": "0.1.0",
            "dataset": "demo",
            "datasetUri": f"file://{self.root}/data/",
            "artefactsUri": self.store.root_uri,
            "runPrefix": f"runs/{RUN}/",
            "inputHash": digest(task_id),
            "casesKey": cases_key,
            "planKey": f"runs/{RUN}/plan.json",
            **fields,
        }
        self.store.write_json(f"runs/{RUN}/tasks/{task_id}.json", document)
        return f"{self.store.root_uri}runs/{RUN}/tasks/{task_id}.json"

    def result(self, task_id: str) -> dict:
        return json.loads(self.store.read(f"runs/{RUN}/results/{task_id}.json"))


def plan_document(ids: list[str], **fields: Any) -> dict[str, Any]:
    estimate = {
        "minutes": 1,
        "usd": 0,
        "equivalentUsd": 0,
        "pricedAs": {"instanceType": "none", "usdPerHour": 0, "date": "2026-01-01", "source": "none"},
        "stages": [],
    }
    network = {
        "model": "unet3d",
        "inputChannels": 1,
        "outputClasses": 3,
        "features": [4, 8, 16],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "kernels": [[3, 3, 3]] * 3,
        "deepSupervisionWeights": [2 / 3, 1 / 3],
    }
    labels = [{"value": v, "name": name} for v, name in enumerate(("background", "bright", "dark"))]
    return {
        "schema": 1,
        "runId": RUN,
        "version": "0.1.0",
        "dataset": {"name": "demo", "channels": ["MRI"], "labels": labels, "licence": "CC0-1.0"},
        "cases": {"training": len(ids), "test": 0, "quarantined": 0},
        "spacingMmZyx": [1, 1, 1],
        "medianShapeZyx": [19, 20, 22],
        "transpose": [0, 1, 2],
        "patch": [16, 16, 16],
        "batch": 2,
        "network": network,
        "normalisation": [{"scheme": "zscore", "masked": False}],
        "batchDice": False,
        "dummy2d": False,
        "precision": "bf16",
        "optimizer": "sgd",
        "seed": 7,
        "budget": {"steps": 4},
        "infer": {"overlap": 0.5, "mirroring": False, "nsdToleranceMm": 1},
        "folds": [{"name": "fold0", "train": ids[:-1], "validation": ids[-1:]}],
        "overrides": [],
        "notes": [],
        "estimate": estimate,
        "go": True,
        **fields,
    }
