"""compile: trained weights to a model folder with ONNX and an engine whose Dice keeps up with FP32's."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .. import contract, engines, model_card, model_folder
from ..contract import (
    CompileResult,
    CompileTask,
    EngineFile,
    ModelFolder,
    Parity,
    Plan,
    TrainCase,
    TrainResult,
)
from ..engines import Engine, Site, calibration, class_parity, onnx_export, onnx_runtime, parity, pytorch
from ..engines.parity import ParityCase
from ..errors import StageError
from ..inference.whole import centred
from ..models import WEIGHTS_FILE
from ..stage import Stage
from ..storage import Store


def run(task: CompileTask, stage: Stage) -> CompileResult:
    """Writes the model folder below the task's output prefix; predict and infer need nothing else.

    Raises:
        StageError: EngineUnavailable when the engine cannot run here, ParityFailed when its masks are
            worse than FP32's beyond the parity rule in every precision that was tried.
    """
    lacks = engines.missing(task.engine)
    if lacks:
        raise lacks
    plan = stage.plan()
    progress = stage.progress(3, "steps")
    training = contract.parse(
        TrainResult,
        stage.artefacts.read_json(f"{task.model_prefix}result.json"),
        "the result of train",
        "result",
    )
    with tempfile.TemporaryDirectory(prefix="voxelburst-compile-") as temporary:
        folder = Path(temporary)
        site = Site(folder=folder, network=plan.network, patch=plan.patch)
        shutil.copyfile(stage.artefacts.local(f"{task.model_prefix}{WEIGHTS_FILE}"), folder / WEIGHTS_FILE)
        model = pytorch.network_of(site)
        began = time.monotonic()
        onnx_export.export(model, site, "fp32", folder / onnx_runtime.MODEL_FILE)
        progress.update(1, "exported to ONNX")
        export_seconds = time.monotonic() - began
        reference = pytorch.load(site, EngineFile(engine="torch", precision="fp32"))
        cases = stage.cases(TrainCase)
        training_cases = [case for case in cases if case.part == "train"]

        def calibration_windows() -> Iterator[torch.Tensor]:
            if plan.dataset.classes:
                volumes = _volumes(stage.artefacts, training_cases, plan.dataset.classes)
                return (centred(image_cdhw, plan.patch) for image_cdhw, _ in volumes)
            return calibration.windows(_read(stage.artefacts, training_cases), plan.patch)

        # The first precision that keeps up with FP32; the last one is refused if it does not.
        refused: list[str] = []
        wanted = plan.infer.precision
        candidates = [wanted] if wanted else engines.precisions(task.engine)
        for precision in candidates:
            began = time.monotonic()
            try:
                entry = engines.make(
                    task.engine, model, site, precision, calibration_windows if training_cases else None
                )
            except StageError as error:
                if precision == candidates[-1]:
                    raise
                refused.append(f"{precision} was not built: {error.message}")
                continue
            document = _document(task, plan, entry)
            engine = engines.load(site, document)
            build_seconds = export_seconds + time.monotonic() - began
            progress.update(2, f"built {task.engine} in {precision}")
            validation = [case for case in cases if case.part == "validation"]
            found = _compare(stage.artefacts, plan, validation, reference, engine)
            if found.passed:
                break
            refused.append(f"{precision} was refused: {parity.refusal(found).message}")
        parity.refuse(found)

        described = engine.host()
        described.fallbacks.extend(refused)
        (folder / "plan.json").write_bytes(stage.artefacts.read(task.plan_key))
        (folder / "LICENSE").write_text(model_card.licence(plan))
        (folder / "MODEL_CARD.md").write_text(
            model_card.card(
                name=document.name,
                fold=task.fold,
                plan=plan,
                training=training,
                entry=entry,
                host=described,
                parity=found,
            )
        )
        _publish(stage.artefacts, task.output_prefix, folder, document)
    progress.update(3, "parity holds")
    return stage.result(
        CompileResult,
        fold=task.fold,
        strategy=task.strategy,
        engine=task.engine,
        precision=entry.precision,
        build_seconds=round(build_seconds, 3),
        engine_prefix=task.output_prefix,
        parity=found,
        host=described,
    )


def _compare(
    artefacts: Store, plan: Plan, validation: list[TrainCase], reference: Engine, engine: Engine
) -> Parity:
    if plan.dataset.classes:
        volumes = _volumes(artefacts, validation, plan.dataset.classes)
        return class_parity.compare(reference, engine, volumes, plan.patch)
    cases = _read(artefacts, validation)
    return parity.compare(reference, engine, cases, plan.patch, plan.network.output_classes)


def _volumes(
    artefacts: Store, cases: list[TrainCase], classes: list[str]
) -> Iterator[tuple[torch.Tensor, int]]:
    """(image_cdhw, the index of its class) of cases of a classification, in the task's order."""
    for case in cases:
        image_cdhw = np.load(artefacts.local(f"{case.arrays_prefix}image.npy"))
        yield torch.from_numpy(image_cdhw), classes.index(str(case.class_name))


def _document(task: CompileTask, plan: Plan, entry: EngineFile) -> ModelFolder:
    """model.json without its checksums. The weights run anywhere: torch is listed beside the engine."""
    listed = [entry]
    if entry.engine != pytorch.NAME:
        listed.append(EngineFile(engine=pytorch.NAME, precision="fp32"))
    return model_folder.of_plan(
        plan,
        name=f"{task.dataset}-{task.fold}-{task.strategy}",
        version=task.version,
        run_id=task.run_id,
        fold=task.fold,
        strategy=task.strategy,
        engines=listed,
        files={},
    )


def _read(artefacts: Store, cases: list[TrainCase]) -> Iterator[ParityCase]:
    """In the task's order. Images are mapped: of a large one only a block is read."""
    for case in cases:
        yield ParityCase(
            case_id=case.case_id,
            image_cdhw=np.load(artefacts.local(f"{case.arrays_prefix}image.npy"), mmap_mode="r"),
            label_dhw=np.load(artefacts.local(f"{case.arrays_prefix}label.npy")),
        )


def _publish(artefacts: Store, prefix: str, folder: Path, document: ModelFolder) -> None:
    """model.json goes last: a folder that has it is whole."""
    names = [path.name for path in folder.iterdir()]
    checksums = model_folder.checksums(folder, names)
    whole = contract.to_json(document) | {"files": checksums}
    contract.parse(ModelFolder, whole, model_folder.MODEL_FILE)
    for name in names:
        artefacts.upload(folder / name, f"{prefix}{name}")
    artefacts.write_json(f"{prefix}{model_folder.MODEL_FILE}", whole)
