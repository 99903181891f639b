"""A dataset of small volumes with a model trained on it in seconds, as the stages before compile leave it.

Volumes hold two ellipsoids, one brighter than the noise around it and one darker. Their grids differ:
oblique, anisotropic, with an empty border, smaller and larger than the patch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voxelburst import stage
from voxelburst.contract import Plan, from_json
from voxelburst.models import build, save_weights
from voxelburst.stages import preprocess
from voxelburst.storage import Store
from voxelburst.volumes import Volume, write_canonical

RUN = "demo-0123456789ab-1"
TRAIN_PREFIX = f"train/{'7' * 64}/"
PATCH = (16, 16, 24)
# (shape z y x, spacing mm z y x, degrees about the x axis, zeros around the image)
GRIDS = {
    "case-a": ((20, 22, 26), (1.0, 1.0, 1.0), 0, 0),
    "case-b": ((12, 30, 40), (2.0, 0.8, 0.7), 25, 3),
    "case-c": ((14, 15, 18), (1.0, 1.0, 1.0), -10, 0),
    "case-d": ((24, 20, 30), (1.1, 0.9, 1.0), 5, 2),
}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def affine_of(spacing_zyx: tuple[float, float, float], degrees: float) -> NDArray[np.float64]:
    """LPS-like signs, turned about the x axis: what scanners write."""
    turn = np.deg2rad(degrees)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-spacing_zyx[2], -spacing_zyx[1], spacing_zyx[0]])
    affine[:3, 3] = (31.5, -12.25, 7)
    # As ingest keeps it: what a NIfTI header gives back.
    return affine.astype(np.float32).astype(np.float64)


def phantom(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int, border: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(image_zyx, label_zyx)."""
    rng = np.random.default_rng(seed)
    size = np.array(shape) * spacing
    at = [(np.arange(n) + 0.5) * mm for n, mm in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*at, indexing="ij")
    label = np.zeros(shape, np.uint8)
    for value, share in ((1, (0.4, 0.35, 0.35)), (2, (0.6, 0.65, 0.65))):
        centre = size * (np.array(share) + rng.uniform(-0.03, 0.03, 3))
        radius = sum(((a - c) / (0.2 * s)) ** 2 for a, c, s in zip((z, y, x), centre, size, strict=True))
        label[radius < 1] = value
    image = rng.normal(100, 8, shape).astype(np.float32) + 60.0 * (label == 1) - 60.0 * (label == 2)
    if border:
        inside = np.zeros(shape, bool)
        inside[border:-border, border:-border, border:-border] = True
        image[~inside], label[~inside] = 0, 0
    return image.astype(np.float32), label


class TrainedDataset:
    """Everything below ``root``/artefacts; ``plan`` is the plan document."""

    def __init__(self, root: Path, *, steps: int = 120, **plan: Any) -> None:
        """steps: of the training; the masks of few are noise."""
        self.root = root
        self.store = Store(f"file://{root}/artefacts/")
        self.plan = _plan_document(list(GRIDS), **plan)
        self.store.write_json(f"runs/{RUN}/plan.json", self.plan)
        for number, (case_id, (shape, spacing, degrees, border)) in enumerate(GRIDS.items()):
            image, label = phantom(shape, spacing, number, border)
            self.add_case(case_id, image, affine_of(spacing, degrees), label)
        self._preprocess()
        self._train(steps)

    def add_case(
        self, case_id: str, image: NDArray, affine: NDArray[np.float64], label: NDArray | None
    ) -> None:
        prefix = f"ingest/{digest(case_id)}/"
        files = {"image-0.nii.gz": image} | ({} if label is None else {"label.nii.gz": label})
        for name, voxels in files.items():
            path = self.store.scratch(prefix + name)
            write_canonical(path, Volume(voxels_zyx=voxels, affine=affine))
            self.store.upload(path, prefix + name)
        nonzero = np.argwhere(image != 0)
        box = [[int(low), int(high) + 1] for low, high in zip(nonzero.min(0), nonzero.max(0), strict=True)]
        channel = {"count": 1, "mean": 0, "std": 1, "min": 0, "max": 1, "quantiles": [0.0] * 401}
        spacing_xyz = np.sqrt((affine[:3, :3] ** 2).sum(0))
        record = {
            "schema": 1,
            "caseId": case_id,
            "caseHash": digest(case_id),
            "split": "test" if label is None else "training",
            "source": {"kind": "nifti"},
            "prefix": prefix,
            "images": [f"{prefix}image-0.nii.gz"],
            "label": None if label is None else f"{prefix}label.nii.gz",
            "shapeZyx": list(image.shape),
            "spacingMmZyx": [float(mm) for mm in spacing_xyz[::-1]],
            "affine": affine.tolist(),
            "dtype": str(image.dtype),
            "nonzeroBoxZyx": box,
            "channels": [channel],
            "sha256": {},
            "bytes": 1,
            "warnings": [],
        }
        record = {name: value for name, value in record.items() if value is not None}
        self.store.write_json(f"{prefix}record.json", record)

    def task(self, name: str, lines: list[dict[str, Any]], **fields: Any) -> str:
        """Writes a task document with its cases; returns its URI."""
        key = f"runs/{RUN}/tasks/{name}"
        self.store.write_lines(f"{key}.cases.jsonl", lines)
        document = {
            "schema": 1,
            "taskId": name,
            "runId": RUN,
            "version": "0.1.0",
            "dataset": "demo",
            "datasetUri": f"file://{self.root}/data/",
            "artefactsUri": self.store.root_uri,
            "runPrefix": f"runs/{RUN}/",
            "inputHash": digest(name),
            "casesKey": f"{key}.cases.jsonl",
            "planKey": f"runs/{RUN}/plan.json",
            **fields,
        }
        self.store.write_json(f"{key}.json", document)
        return f"{self.store.root_uri}{key}.json"

    def compile_task(self, engine: str, *, with_training: bool = False, **fields: Any) -> str:
        """with_training: training cases beside the validation cases, for the calibration of 8 bits."""
        fold = self.plan["folds"][0]
        lines = [
            {"caseId": case_id, "part": part, "arraysPrefix": arrays_prefix(case_id)}
            for part in (("validation", "train") if with_training else ("validation",))
            for case_id in fold[part]
        ]
        options = {"fold": "fold0", "strategy": "fp32", "engine": engine, "modelPrefix": TRAIN_PREFIX}
        prefix = {"outputPrefix": engine_prefix(engine)}
        name = f"compile-fold0-fp32-{engine}"
        return self.task(name, lines, stage="compile", **{**options, **prefix, **fields})

    def infer_task(self, engine: str, test_cases: tuple[str, ...] = (), **fields: Any) -> str:
        lines = [
            {
                "caseId": case_id,
                "part": "test" if case_id in test_cases else "validation",
                "recordKey": f"ingest/{digest(case_id)}/record.json",
                "outputPrefix": infer_prefix(case_id),
                "outputHash": digest(f"infer {case_id}"),
            }
            for case_id in (*self.validation, *test_cases)
        ]
        options = {
            "fold": "fold0",
            "strategy": "fp32",
            "engine": engine,
            "shards": 2,
            "enginePrefix": engine_prefix(engine),
            "masksPrefix": masks_prefix(engine),
        }
        return self.task(f"infer-fold0-fp32-{engine}", lines, stage="infer", **{**options, **fields})

    @property
    def validation(self) -> list[str]:
        return self.plan["folds"][0]["validation"]

    def result(self, name: str) -> dict[str, Any]:
        return self.store.read_json(f"runs/{RUN}/results/{name}.json")

    def error(self, name: str) -> dict[str, Any]:
        return self.store.read_json(f"runs/{RUN}/errors/{name}.json")

    def _preprocess(self) -> None:
        lines = [
            {
                "caseId": case_id,
                "recordKey": f"ingest/{digest(case_id)}/record.json",
                "outputPrefix": arrays_prefix(case_id),
                "outputHash": digest(f"arrays {case_id}"),
            }
            for case_id in GRIDS
        ]
        assert (
            stage.execute(
                "preprocess", preprocess.run, self.task("preprocess", lines, stage="preprocess", shards=1)
            )
            == 0
        )

    def _train(self, steps: int) -> None:
        """The default is enough for masks worth comparing; the train stage itself is tested elsewhere."""
        patch = self.plan["patch"]
        torch.manual_seed(0)
        plan = from_json(Plan, self.plan)
        model = build(plan.network).train()
        optimiser = torch.optim.Adam(model.parameters(), 0.02)
        rng = np.random.default_rng(0)
        arrays = [
            [np.load(self.store.local(f"{arrays_prefix(case_id)}{name}.npy")) for name in ("image", "label")]
            for case_id in GRIDS
        ]
        losses = []
        for _ in range(steps):
            image, label = arrays[rng.integers(len(arrays))]
            pad = [(0, max(0, p - n)) for n, p in zip(label.shape, patch, strict=True)]
            image, label = np.pad(image, [(0, 0), *pad]), np.pad(label, pad)
            start = [rng.integers(n - p + 1) for n, p in zip(label.shape, patch, strict=True)]
            window = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
            finest = model(torch.from_numpy(image[(slice(None), *window)].copy())[None])[0]
            target = torch.from_numpy(label[window].astype(np.int64))[None]
            loss = torch.nn.functional.cross_entropy(finest, target, torch.tensor([1.0, 4.0, 4.0]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        path = self.store.scratch(f"{TRAIN_PREFIX}weights.pt")
        save_weights(model, path)
        self.store.upload(path, f"{TRAIN_PREFIX}weights.pt")
        self.store.write_json(f"{TRAIN_PREFIX}result.json", _train_result(losses))


def arrays_prefix(case_id: str) -> str:
    return f"preprocess/{digest(f'arrays {case_id}')}/"


def infer_prefix(case_id: str) -> str:
    return f"infer/{digest(f'infer {case_id}')}/"


def engine_prefix(engine: str) -> str:
    return f"compile/{digest(engine)}/"


def masks_prefix(engine: str) -> str:
    return f"runs/{RUN}/masks/fold0-fp32-{engine}/"


def _train_result(losses: list[float]) -> dict[str, Any]:
    host = {"backend": "cpu", "device": "test", "devices": 0, "cpus": 1, "versions": {}, "fallbacks": []}
    curve = [{"step": 50, "seconds": 1.0, "loss": losses[-1], "learningRate": 0.02, "pseudoDice": 0.9}]
    return {
        "schema": 1,
        "stage": "train",
        "runId": RUN,
        "taskId": "train-fold0-fp32",
        "inputHash": "7" * 64,
        "version": "0.1.0",
        "startedAt": "2026-01-01T00:00:00.000+00:00",
        "seconds": 1.0,
        "peakMemoryMiB": 1.0,
        "host": host,
        "fold": "fold0",
        "strategy": "fp32",
        "precision": "fp32",
        "loader": "torch",
        "batch": 1,
        "steps": 50,
        "resumedFromStep": 0,
        "trainSeconds": 1.0,
        "patchesPerSecond": 50.0,
        "volumesPerSecond": 50.0,
        "stepLatency": {"p50Ms": 20.0, "p95Ms": 30.0},
        "curve": curve,
        "modelPrefix": TRAIN_PREFIX,
        "weightsSha256": "0" * 64,
        "parameters": 10_000,
    }


def _plan_document(ids: list[str], **fields: Any) -> dict[str, Any]:
    network = {
        "model": "unet3d",
        "inputChannels": 1,
        "outputClasses": 3,
        "features": [6, 12],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "kernels": [[3, 3, 3]] * 2,
        "deepSupervisionWeights": [1.0],
    }
    labels = [{"value": v, "name": name} for v, name in enumerate(("background", "bright", "dark"))]
    priced = {"instanceType": "none", "usdPerHour": 0, "date": "2026-01-01", "source": "none"}
    return {
        "schema": 1,
        "runId": RUN,
        "version": "0.1.0",
        "dataset": {"name": "Demo", "channels": ["MRI"], "labels": labels, "licence": "CC0-1.0"},
        "cases": {"training": len(ids), "test": 0, "quarantined": 0},
        "spacingMmZyx": [1, 1, 1],
        "medianShapeZyx": [20, 22, 26],
        "transpose": [1, 0, 2],
        "patch": list(PATCH),
        "batch": 2,
        "network": network,
        "normalisation": [{"scheme": "zscore", "masked": False}],
        "batchDice": False,
        "dummy2d": False,
        "precision": "fp32",
        "optimizer": "sgd",
        "seed": 0,
        "budget": {"steps": 50},
        "infer": {"overlap": 0.5, "mirroring": False, "nsdToleranceMm": 1},
        "folds": [{"name": "fold0", "train": ids[:1], "validation": ids[1:]}],
        "overrides": [],
        "notes": [],
        "estimate": {"minutes": 1, "usd": 0, "equivalentUsd": 0, "pricedAs": priced, "stages": []},
        "go": True,
        **fields,
    }


def run_stage(name: str, task_uri: str) -> int:
    """As the container would, in this process."""
    import importlib

    return stage.execute(name, importlib.import_module(f"voxelburst.stages.{name}").run, task_uri)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
