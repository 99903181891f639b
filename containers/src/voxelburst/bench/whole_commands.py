"""A run's preprocess stage and `predict` as whole commands, process start included, to set beside a peer's.

The cases are those of a run's preprocess task. Its artefacts are only read: outputs go into their own folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import contract, engines, model_folder, models
from ..contract import CaseRecord, EngineFile, Plan, PreprocessCase, PreprocessTask
from ..engines import Site, onnx_export, onnx_runtime
from ..errors import StageError
from ..models import WEIGHTS_FILE

# A steady state is what a command of so many times the cases takes longer: start-ups cancel out.
STEADY_TIMES = 4
PREPROCESS = "preprocess, whole command"


def predict_does(*, mirroring: bool, steady: bool) -> str:
    """What a row of predictions is called, ours and a peer's alike: rows of one name make a ratio."""
    of = "steady state" if steady else "whole command"
    return f"predict, file to mask, {of}, {'mirroring' if mirroring else 'no mirroring'}"


@dataclass(frozen=True)
class RunCases:
    """The cases of a run: `records` by id, their files below `artefacts`."""

    task: PreprocessTask
    plan: Plan
    artefacts: Path
    cases: list[PreprocessCase]
    records: dict[str, CaseRecord]

    @classmethod
    def of(cls, task_file: Path) -> RunCases:
        """Of the run whose preprocess task a file is.

        Raises:
            StageError: UsageInvalid, where the artefacts are not on this machine's disk; DocumentInvalid.
        """
        task = contract.parse(PreprocessTask, json.loads(task_file.read_text()), task_file.name)
        if not task.artefacts_uri.startswith("file://"):
            raise StageError(
                "UsageInvalid",
                f"The run's artefacts are at {task.artefacts_uri}: they are not on this machine.",
                "Give --preprocess-task of a run that was made here.",
                field="--preprocess-task",
            )
        artefacts = Path(task.artefacts_uri.removeprefix("file://"))
        plan = contract.parse(Plan, json.loads((artefacts / task.plan_key).read_text()), "plan.json")
        cases = [
            contract.parse(PreprocessCase, json.loads(line), "the preprocess task's cases")
            for line in (artefacts / task.cases_key).read_text().splitlines()
        ]
        records = {
            case.case_id: contract.parse(
                CaseRecord, json.loads((artefacts / case.record_key).read_text()), "a case's record"
            )
            for case in cases
        }
        return cls(task=task, plan=plan, artefacts=artefacts, cases=cases, records=records)

    def folders(self) -> list[Path]:
        """Of the cases' arrays."""
        return [self.artefacts / case.output_prefix for case in self.cases]

    def files(self, case_id: str) -> dict[str, Any]:
        """A case's NIfTI files: one image a channel, and its label or None."""
        record = self.records[case_id]
        label = None if record.label is None else str(self.artefacts / record.label)
        return {"images": [str(self.artefacts / key) for key in record.images], "label": label}

    def labelled(self) -> list[str]:
        return [case.case_id for case in self.cases if self.records[case.case_id].label is not None]

    def validation(self) -> list[str]:
        """Of the first fold."""
        return list(self.plan.folds[0].validation)


def preprocess_row(run: RunCases, folder: Path) -> dict[str, Any]:
    """All cases by the stage's own command, in as many processes at once as the run's plan gave it."""
    folder.mkdir(parents=True)
    for entry in run.artefacts.iterdir():
        if entry.name not in ("preprocess", "runs"):
            (folder / entry.name).symlink_to(entry.resolve())
    document = contract.to_json(run.task) | {"artefactsUri": folder.as_uri() + "/"}
    (folder / run.task.plan_key).parent.mkdir(parents=True, exist_ok=True)
    (folder / run.task.plan_key).write_bytes((run.artefacts / run.task.plan_key).read_bytes())
    (folder / run.task.cases_key).parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(contract.to_json(replace(case, output_prefix=f"preprocess/{n}/")))
        for n, case in enumerate(run.cases)
    ]
    (folder / run.task.cases_key).write_text("\n".join(lines) + "\n")
    task_file = folder / "task.json"
    task_file.write_text(json.dumps(document))
    command = [sys.executable, "-m", "voxelburst", "preprocess", "--task", task_file.as_uri()]
    began = time.perf_counter()
    _together(
        [
            _Child(command, folder / f"preprocess.{index}.log", {"AWS_BATCH_JOB_ARRAY_INDEX": str(index)})
            for index in range(run.task.shards)
        ],
        run.task.shards,
    )
    seconds = time.perf_counter() - began
    results = folder / run.task.run_prefix / "results"
    inside = [json.loads(path.read_text())["volumesPerSecond"] for path in results.glob("preprocess.*.json")]
    return {
        "kind": "command",
        "does": PREPROCESS,
        "note": f"once started, {sum(inside):.1f} volumes/s in all processes",
        "timed": f"{len(run.cases)} cases, {run.task.shards} processes, their starts included",
        "volumesPerSecond": round(len(run.cases) / seconds, 4),
    }


def predict_rows(run: RunCases, folder: Path, engine: str | None) -> list[dict[str, Any]]:
    """The first fold's validation cases through `predict`, from files to masks, without and with mirroring.

    The engine is built first, in weights that nobody trained: only its speed is looked at.
    """
    where = engines.device()
    engine = engine or ("triton" if where.type == "cuda" else "onnxruntime")
    if lacks := engines.missing(engine, where):
        raise lacks
    model = folder / "model"
    model.mkdir(parents=True)
    site = Site(folder=model, network=run.plan.network, patch=run.plan.patch)
    torch.manual_seed(0)
    network = models.build(run.plan.network).eval().requires_grad_(False)
    models.save_weights(network, model / WEIGHTS_FILE)
    began = time.perf_counter()
    onnx_export.export(network, site, "fp32", model / onnx_runtime.MODEL_FILE)
    # Eight bits need calibration on training cases and the parity gate: they are compile's to grant.
    precision = next(p for p in engines.precisions(engine) if p not in engines.EIGHT_BITS)
    entry = engines.make(engine, network, site, precision)
    built = time.perf_counter() - began
    ids = run.validation()
    images = {times: _images(run, ids, times, folder / f"images-{times}") for times in (1, STEADY_TIMES)}
    rows: list[dict[str, Any]] = []
    for mirroring in (False, True):
        _write_model(run.plan, model, entry, mirroring)
        took = {}
        for times, source in images.items():
            name = f"masks-{times}-{mirroring}"
            command = [
                *(sys.executable, "-m", "voxelburst", "predict", "--model", str(model)),
                *("--images", str(source), "--out", str(folder / name)),
            ]
            began = time.perf_counter()
            _together([_Child(command, folder / f"{name}.log", {})])
            took[times] = time.perf_counter() - began
        rows += [
            {
                "kind": "command",
                "engine": engine,
                "precision": entry.precision,
                "buildSeconds": round(built, 3),
                "patch": list(run.plan.patch),
                "note": "weights that nobody trained",
                **row,
            }
            for row in predict_speeds(len(ids), took, mirroring)
        ]
    return rows


def predict_speeds(cases: int, seconds: dict[int, float], mirroring: bool) -> list[dict[str, Any]]:
    """Whole-command and steady volumes/s of `cases` cases and of STEADY_TIMES as many."""
    once, more = seconds[1], seconds[STEADY_TIMES]
    rows = [
        {
            "does": predict_does(mirroring=mirroring, steady=False),
            "timed": f"{cases} cases, process start included",
            "volumesPerSecond": round(cases / once, 4),
        }
    ]
    if more > once:
        rows.append(
            {
                "does": predict_does(mirroring=mirroring, steady=True),
                "timed": f"{STEADY_TIMES * cases} cases less {cases} cases",
                "volumesPerSecond": round((STEADY_TIMES - 1) * cases / (more - once), 4),
            }
        )
    return rows


def _images(run: RunCases, ids: list[str], times: int, folder: Path) -> Path:
    """Links to the cases' images, each under `times` names."""
    folder.mkdir()
    for case_id in ids:
        files = run.files(case_id)["images"]
        for copy in range(times):
            for channel, image in enumerate(files):
                suffix = f"_{channel:04d}" if len(files) > 1 else ""
                (folder / f"{case_id}-{copy}{suffix}.nii.gz").symlink_to(image)
    return folder


def _write_model(plan: Plan, folder: Path, entry: EngineFile, mirroring: bool) -> None:
    document = model_folder.of_plan(
        replace(plan, infer=replace(plan.infer, overlap=0.5, mirroring=mirroring)),
        name="bench",
        version="bench",
        run_id="bench",
        fold=plan.folds[0].name,
        strategy="fused",
        engines=[entry],
        files=model_folder.checksums(folder, [p.name for p in folder.iterdir() if p.name != "model.json"]),
    )
    (folder / model_folder.MODEL_FILE).write_text(json.dumps(contract.to_json(document)))


@dataclass(frozen=True)
class _Child:
    command: list[str]
    log: Path
    variables: dict[str, str]


def _together(children: list[_Child], sharing: int = 1) -> None:
    """Runs commands at once, each with its share of the cores.

    Raises:
        StageError: CommandFailed, with the end of the first log that has one.
    """
    share = str(max(1, (os.cpu_count() or 1) // sharing))
    processes = []
    for child in children:
        with child.log.open("w") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": share, **child.variables}
            processes.append(subprocess.Popen(child.command, env=environment, stdout=log, stderr=log))
    codes = [process.wait() for process in processes]
    for child, code in zip(children, codes, strict=True):
        if code != 0:
            print("\n".join(child.log.read_text().splitlines()[-30:]), file=sys.stderr)
            raise StageError(
                "CommandFailed",
                f"`voxelburst {child.command[3]}` ended with {code}.",
                "Read the end of its log, which is in the bench's log.",
                got=str(code),
            )
