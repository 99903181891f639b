"""preprocess: canonical volumes to the arrays that training reads, one case at a time."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import contract, dali, host, resampling
from ..contract import CaseRecord, Plan, PreprocessCase, PreprocessResult, PreprocessTask
from ..errors import StageError
from ..preprocessing import Preparation, Prepared, foreground_locations, prepare
from ..stage import Stage
from ..storage import Store
from ..volumes import read_image, read_label


def run(task: PreprocessTask, stage: Stage) -> PreprocessResult:
    """Makes the arrays of this child's cases; those whose meta.json exists are skipped.

    A case's output below its prefix: image.npy (c, d, h, w; float32), label.npy (d, h, w; int8) and
    foreground.npz (each class's voxel coordinates) where it has a label, and last of all meta.json.
    """
    plan = stage.plan()
    preparation = Preparation.of(plan)
    cases = stage.cases(PreprocessCase)
    progress = stage.progress(len(cases), "cases")
    done = skipped = voxels = 0
    seconds = 0.0
    for count, case in enumerate(cases, 1):
        if stage.artefacts.exists(f"{case.output_prefix}meta.json"):
            skipped += 1
            progress.update(count, skipped=True)
            continue
        began = time.monotonic()
        try:
            voxels += _one_case(stage.artefacts, case, plan, preparation)
        except StageError as error:
            error.case_id = error.case_id or case.case_id
            raise
        seconds += time.monotonic() - began
        done += 1
        progress.update(count)
    on_gpu = dali.device_id() is not None
    return stage.result(
        PreprocessResult,
        cases=len(cases),
        done=done,
        skipped=skipped,
        voxels=voxels,
        volumes_per_second=round(done / seconds, 4) if done else 0.0,
        host=host.describe(
            ("torch", "nvidia-dali-cuda130", "nibabel", "numpy"),
            gpus=1 if on_gpu else 0,
            fallbacks=[] if on_gpu else ["There is no GPU: DALI's operators ran on the CPU."],
        ),
    )


def _one_case(artefacts: Store, case: PreprocessCase, plan: Plan, preparation: Preparation) -> int:
    """Writes the arrays of a case and returns the voxels of its image."""
    record = contract.parse(CaseRecord, artefacts.read_json(case.record_key), f"the record of {case.case_id}")
    image_czyx, _ = read_image(artefacts, record)
    prepared = prepare(
        image_czyx,
        record.spacing_mm_zyx,
        preparation,
        label_zyx=read_label(artefacts, record),
        box_zyx=record.nonzero_box_zyx,
    )
    _put_array(artefacts, f"{case.output_prefix}image.npy", prepared.image_cdhw)
    if prepared.label_dhw is not None:
        _put_array(artefacts, f"{case.output_prefix}label.npy", prepared.label_dhw)
        packed = io.BytesIO()
        locations = foreground_locations(prepared.label_dhw, plan.network.output_classes)
        np.savez(packed, **locations)  # type: ignore[arg-type]
        artefacts.write(f"{case.output_prefix}foreground.npz", packed.getvalue())
    artefacts.write_json(f"{case.output_prefix}meta.json", _meta(case, preparation, prepared))
    return int(prepared.image_cdhw.size)


def _put_array(artefacts: Store, key: str, array: NDArray) -> None:
    path: Path = artefacts.scratch(key)
    try:
        with path.open("wb") as file:
            np.save(file, array)
        artefacts.upload(path, key)
    finally:
        path.unlink(missing_ok=True)


def _meta(case: PreprocessCase, preparation: Preparation, prepared: Prepared) -> dict:
    return {
        "schema": 1,
        "caseId": case.case_id,
        "outputHash": case.output_hash,
        **contract.to_json(prepared.geometry),
        "normalisation": contract.to_json(preparation.normalisation),
        "imageKernel": resampling.IMAGE_KERNEL,
        "labelKernel": resampling.LABEL_KERNEL,
    }
