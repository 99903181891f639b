"""infer: canonical volumes to masks in their own grid, and how good those are."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import contract, engines, host, metrics, model_folder
from ..contract import (
    CaseRecord,
    CaseScores,
    InferCase,
    InferResult,
    InferTask,
    ModelFolder,
    Plan,
)
from ..engines import Site
from ..inference.pipeline import Outcome, predict, warm_up
from ..inference.preview import preview_png
from ..inference.sliding_window import SlidingWindow
from ..preprocessing import Preparation, Prepared, prepare
from ..progress import Progress
from ..stage import Stage
from ..storage import Store
from ..volumes import read_canonical, read_label, write_mask
from . import infer_classes
from .infer_result import Measured, nothing_done, result_of

# Masks are scored between groups of cases, while the clock of file to mask stands still. A killed child loses
# at most this much work, beside the case that it was at.
_GROUP_SECONDS = 20.0
_GROUP_CASES = 32
# Scoring a case of noise in 512x512x400 voxels takes 2.5 GiB: large cases are scored one by one.
_LARGE_VOXELS = 1 << 25


def run(task: InferTask, stage: Stage) -> InferResult:
    """Predicts this child's cases; those whose scores.json exists only get their mask copied.

    A case's output below its prefix: mask.nii.gz, preview.png, and last of all scores.json, without classes
    for a case of the test part. The mask is also put below the task's masksPrefix as <caseId>.nii.gz.
    """
    plan = stage.plan()
    if plan.dataset.classes:
        return infer_classes.run(task, stage, plan)
    cases = stage.cases(InferCase)
    progress = stage.progress(len(cases), "cases")
    todo: list[InferCase] = []
    skipped = 0
    for case in cases:
        if not stage.artefacts.exists(f"{case.output_prefix}scores.json"):
            todo.append(case)
            continue
        _copy_mask(stage.artefacts, case, task.masks_prefix)
        skipped += 1
        progress.update(skipped, skipped=True)

    with tempfile.TemporaryDirectory(prefix="voxelburst-infer-") as temporary:
        folder = model_folder.fetch(stage.artefacts, task.engine_prefix, Path(temporary))
        model = model_folder.read(folder)
        if todo:
            measured = _predict_and_score(task, stage.artefacts, plan, model, folder, todo, progress, skipped)
        else:
            measured = nothing_done(model, task.engine)
    scores_key = stage.key("infer", "scores.jsonl")
    stage.artefacts.write_lines(
        scores_key, [stage.artefacts.read_json(f"{case.output_prefix}scores.json") for case in cases]
    )
    return result_of(task, stage, measured, cases=len(cases), done=len(todo), scores_key=scores_key)


def _predict_and_score(
    task: InferTask,
    artefacts: Store,
    plan: Plan,
    model: ModelFolder,
    folder: Path,
    todo: list[InferCase],
    progress: Progress,
    skipped: int,
) -> Measured:
    engine = engines.load(Site.of(folder, model), model, task.engine)
    done = float(skipped)

    def on_windows(share: float) -> None:
        nonlocal done
        done += share
        # The last unit is counted when everything is scored.
        progress.update(min(round(done, 3), progress.total - 0.001))

    # The plan's settings: a run may change the overlap and keep the engine.
    window = SlidingWindow(engine, model.patch, plan.infer, on_windows)
    preparation = Preparation.of(model)
    records: dict[str, CaseRecord] = {}

    def load(case: InferCase) -> Prepared:
        document = artefacts.read_json(case.record_key)
        record = contract.parse(CaseRecord, document, f"the record of {case.case_id}")
        records[case.case_id] = record
        return prepare(
            [read_canonical(artefacts.local(key)).voxels_zyx for key in record.images],
            record.spacing_mm_zyx,
            preparation,
            box_zyx=record.nonzero_box_zyx,
            where=engine.device,
        )

    def write(case: InferCase, mask_zyx: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        mask_key = f"{case.output_prefix}mask.nii.gz"
        scratch = artefacts.scratch(mask_key)
        write_mask(scratch, mask_zyx, np.array(records[case.case_id].affine))
        artefacts.write(f"{task.masks_prefix}{case.case_id}.nii.gz", scratch.read_bytes())
        artefacts.upload(scratch, mask_key)
        return mask_zyx

    warm_up(window, model.network.input_channels, model.patch)
    seconds = 0.0
    remaining = iter(todo)
    while True:
        began = time.perf_counter()
        outcomes = list(predict(window, _group(remaining), load, write))
        if not outcomes:
            break
        seconds += time.perf_counter() - began
        for outcome in outcomes:
            if outcome.error:
                outcome.error.case_id = outcome.case.case_id
                raise outcome.error
        _score_all(artefacts, plan, outcomes, records)
        records.clear()
    progress.update(progress.total)
    calls = window.timings.all_seconds()
    return Measured(
        host=engine.host(),
        precision=engine.precision,
        batch=engine.batch,
        windows=window.timings.windows,
        model_seconds=sum(calls),
        file_to_mask_seconds=seconds,
        call_seconds=np.array(calls),
    )


def _group(remaining: Iterator[InferCase]) -> Iterator[InferCase]:
    """Cases until the group's time is over; at least one where there is one."""
    until = time.monotonic() + _GROUP_SECONDS
    for count, case in enumerate(remaining, 1):
        yield case
        if time.monotonic() >= until or count == _GROUP_CASES:
            return


def _score_all(
    artefacts: Store,
    plan: Plan,
    outcomes: list[Outcome[InferCase, npt.NDArray[np.uint8]]],
    records: dict[str, CaseRecord],
) -> None:
    largest = max(int(np.prod(record.shape_zyx)) for record in records.values())
    at_once = 1 if largest >= _LARGE_VOXELS else host.cpus()

    def one(outcome: Outcome[InferCase, npt.NDArray[np.uint8]]) -> None:
        _score(artefacts, plan, outcome, records[outcome.case.case_id], host.cpus() // at_once)

    with ThreadPoolExecutor(at_once, "score") as pool:
        for _ in pool.map(one, outcomes):
            pass


def _score(
    artefacts: Store,
    plan: Plan,
    outcome: Outcome[InferCase, npt.NDArray[np.uint8]],
    record: CaseRecord,
    workers: int,
) -> None:
    case, mask_zyx = outcome.case, outcome.written
    assert mask_zyx is not None
    reference_zyx = read_label(artefacts, record) if case.part == "validation" else None
    classes = []
    if reference_zyx is not None:
        classes = metrics.score_case(
            mask_zyx,
            reference_zyx,
            plan.dataset.labels,
            record.spacing_mm_zyx,
            plan.infer.nsd_tolerance_mm,
            workers,
        )
    image_zyx = read_canonical(artefacts.local(record.images[0])).voxels_zyx
    preview_key = f"{case.output_prefix}preview.png"
    artefacts.write(preview_key, preview_png(image_zyx, mask_zyx, reference_zyx, np.array(record.affine)))
    scores = CaseScores(
        case_id=case.case_id,
        part=case.part,
        classes=classes,
        mean_dice=metrics.mean_dice(classes),
        windows=outcome.windows,
        seconds=round(outcome.seconds, 4),
        mask_key=f"{case.output_prefix}mask.nii.gz",
        preview_key=preview_key,
    )
    artefacts.write_json(f"{case.output_prefix}scores.json", contract.to_json(scores))


def _copy_mask(artefacts: Store, case: InferCase, masks_prefix: str) -> None:
    target = f"{masks_prefix}{case.case_id}.nii.gz"
    if not artefacts.exists(target):
        artefacts.write(target, artefacts.read(f"{case.output_prefix}mask.nii.gz"))
