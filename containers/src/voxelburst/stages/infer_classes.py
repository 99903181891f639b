"""infer of a dataset with classes: canonical volumes to probabilities, one forward pass a case."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .. import contract, engines, host, model_folder
from ..contract import (
    CaseRecord,
    CaseScores,
    Classified,
    InferCase,
    InferResult,
    InferTask,
    Latency,
    ModelFolder,
    Plan,
)
from ..engines import Site
from ..inference.whole import WholeVolume
from ..overlap import in_order
from ..preprocessing import Preparation, prepare
from ..progress import Progress
from ..stage import Stage
from ..storage import Store
from ..volumes import read_canonical

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
    seconds, calls = 0.0, np.zeros(0)
    with tempfile.TemporaryDirectory(prefix="voxelburst-infer-") as temporary:
        folder = model_folder.fetch(stage.artefacts, task.engine_prefix, Path(temporary))
        model = model_folder.read(folder)
        precision = next((e.precision for e in model.engines if e.engine == task.engine), "fp32")
        where = host.describe(("torch",), gpus=1 if engines.device().type == "cuda" else 0)
        if todo:
            engine = engines.load(Site.of(folder, model), model, task.engine)
            precision, where = engine.precision, engine.host()
            seconds, calls = _classify(stage.artefacts, plan, model, engine, todo, progress, skipped)
    written = [stage.artefacts.read_json(f"{case.output_prefix}scores.json") for case in cases]
    scores_key = stage.key("infer", "scores.jsonl")
    stage.artefacts.write_lines(scores_key, written)
    stage.artefacts.write_lines(
        f"{task.masks_prefix}predictions.{stage.index or 0}.jsonl",
        [{"caseId": one["caseId"], "part": one["part"], **one["classification"]} for one in written],
    )
    model_seconds = float(calls.sum())
    p50, p95 = (1e3 * np.percentile(calls, (50, 95))).tolist() if len(calls) else (0.0, 0.0)
    busy = 100 * model_seconds / seconds if where.backend == "cuda" and seconds else None
    return stage.result(
        InferResult,
        fold=task.fold,
        strategy=task.strategy,
        engine=task.engine,
        precision=precision,
        cases=len(cases),
        done=len(todo),
        skipped=skipped,
        scores_key=scores_key,
        batch=1 if todo else None,
        windows=len(todo),
        windows_per_second=_rate(len(todo), model_seconds),
        model_seconds=round(model_seconds, 4),
        file_to_mask_seconds=round(seconds, 4),
        volumes_per_second=_rate(len(todo), seconds),
        window_latency=Latency(p50_ms=round(p50, 3), p95_ms=round(p95, 3)),
        gpu_busy_percent=None if busy is None else round(min(100.0, busy), 2),
        host=where,
    )


def _classify(
    artefacts: Store,
    plan: Plan,
    model: ModelFolder,
    engine: engines.Engine,
    todo: list[InferCase],
    progress: Progress,
    skipped: int,
) -> tuple[float, np.ndarray]:
    """Writes each case's scores.json; (seconds from files to probabilities, those of each case's model)."""
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
    return time.perf_counter() - began, np.array(calls)


def classified(model: ModelFolder, probabilities_k: torch.Tensor, reference: str | None) -> Classified:
    """Probabilities by the model's names of its classes."""
    assert model.classes
    shares = [round(p, 6) for p in probabilities_k.double().tolist()]
    return Classified(
        probabilities=dict(zip(model.classes, shares, strict=True)),
        predicted=model.classes[int(probabilities_k.argmax())],
        reference=reference,
    )


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 4) if seconds > 0 else 0.0
