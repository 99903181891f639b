"""infer of a dataset with classes: canonical volumes to probabilities, one forward pass a case."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .. import contract, engines, model_folder
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
from ..inference.whole import WholeVolume, classified
from ..overlap import in_order
from ..preprocessing import Preparation, prepare
from ..progress import Progress
from ..stage import Stage
from ..storage import Store
from ..volumes import read_canonical
from .infer_result import Measured, nothing_done, result_of

# Files decoded while the model runs; a case of 512x512x400 voxels takes gibibytes, and is alone.
_AHEAD = 2
_LARGE_VOXELS = 1 << 25


def run(task: InferTask, stage: Stage, plan: Plan) -> InferResult:
    """Classifies this child's cases; those whose scores.json exists are skipped.

    A case's output below its prefix is scores.json with its probabilities. The child's cases also go, a line
    each, below the task's masksPrefix as predictions.<index>.jsonl: in the place of masks.
    """
    cases = stage.cases(InferCase)
    progress = stage.progress(len(cases), "cases")
    todo = [case for case in cases if not stage.artefacts.exists(f"{case.output_prefix}scores.json")]
    skipped = len(cases) - len(todo)
    if skipped:
        progress.update(skipped, skipped=True)
    with tempfile.TemporaryDirectory(prefix="voxelburst-infer-") as temporary:
        folder = model_folder.fetch(stage.artefacts, task.engine_prefix, Path(temporary))
        model = model_folder.read(folder)
        if todo:
            engine = engines.load(Site.of(folder, model), model, task.engine)
            measured = _classify(stage.artefacts, plan, model, engine, todo, progress, skipped)
        else:
            measured = nothing_done(model, task.engine)
    written = [stage.artefacts.read_json(f"{case.output_prefix}scores.json") for case in cases]
    scores_key = stage.key("infer", "scores.jsonl")
    stage.artefacts.write_lines(scores_key, written)
    stage.artefacts.write_lines(
        f"{task.masks_prefix}predictions.{stage.index or 0}.jsonl",
        [{"caseId": one["caseId"], "part": one["part"], **one["classification"]} for one in written],
    )
    return result_of(task, stage, measured, cases=len(cases), done=len(todo), scores_key=scores_key)


def _classify(
    artefacts: Store,
    plan: Plan,
    model: ModelFolder,
    engine: engines.Engine,
    todo: list[InferCase],
    progress: Progress,
    skipped: int,
) -> Measured:
    """Writes each case's scores.json; the time from file to mask is that to probabilities."""
    # The plan's settings: a run may change the mirroring and keep the engine.
    classify = WholeVolume(engine, model.patch, mirroring=plan.infer.mirroring)
    preparation = Preparation.of(model)

    def load(case: InferCase) -> tuple[InferCase, CaseRecord, torch.Tensor, float]:
        began = time.perf_counter()
        document = artefacts.read_json(case.record_key)
        record = contract.parse(CaseRecord, document, f"the record of {case.case_id}")
        prepared = prepare(
            [read_canonical(artefacts.local(key)).voxels_zyx for key in record.images],
            record.spacing_mm_zyx,
            preparation,
            box_zyx=record.nonzero_box_zyx,
            where=engine.device,
        )
        return case, record, prepared.image_cdhw, time.perf_counter() - began

    # What only the first case would pay: a GPU's choice of kernels.
    classify(torch.zeros(model.network.input_channels, *model.patch))
    calls: list[float] = []
    began = time.perf_counter()
    with ThreadPoolExecutor(_AHEAD, "load") as loading:
        loaded = in_order(loading, load, todo, _AHEAD, lambda one: one[2].numel() >= _LARGE_VOXELS)
        for case, record, image_cdhw, loading_seconds in loaded:
            seen = classify(image_cdhw)
            calls.append(seen.seconds)
            scores = CaseScores(
                case_id=case.case_id,
                part=case.part,
                classes=[],
                mean_dice=None,
                windows=1,
                seconds=round(loading_seconds + seen.seconds, 4),
                classification=classified(
                    model, seen.probabilities_k, record.class_name if case.part == "validation" else None
                ),
            )
            artefacts.write_json(f"{case.output_prefix}scores.json", contract.to_json(scores))
            progress.update(skipped + len(calls))
    return Measured(
        host=engine.host(),
        precision=engine.precision,
        batch=1,
        windows=len(todo),
        model_seconds=sum(calls),
        file_to_mask_seconds=time.perf_counter() - began,
        call_seconds=np.array(calls),
    )
