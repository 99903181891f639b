"""preprocess: canonical volumes to the arrays that training reads, one case at a time."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .. import contract, engines, host, resampling
from ..contract import CaseRecord, Plan, PreprocessCase, PreprocessResult, PreprocessTask
from ..errors import StageError
from ..overlap import in_order
from ..preprocessing import Preparation, Prepared, foreground_locations, prepare
from ..stage import Stage
from ..storage import Store
from ..volumes import read_canonical, read_label

# On a GPU the files of the next cases are decoded and the last ones written while it computes. On processors
# the stage's other children fill the other cores, and a case of 512x512x400 voxels takes a gibibyte.
_AHEAD_ON_GPU = 4
_LARGE_VOXELS = 1 << 25


@dataclass(frozen=True)
class _Decoded:
    case: PreprocessCase
    record: CaseRecord
    image_czyx: list[NDArray]
    label_zyx: NDArray | None


def run(task: PreprocessTask, stage: Stage) -> PreprocessResult:
    """Makes the arrays of this child's cases; those whose meta.json exists are skipped.

    A case's output below its prefix: image.npy (c, d, h, w; float32), label.npy (d, h, w; int8) and
    foreground.npz (each class's voxel coordinates) where it has a label, and last of all meta.json.
    """
    plan = stage.plan()
    preparation = Preparation.of(plan)
    cases = stage.cases(PreprocessCase)
    progress = stage.progress(len(cases), "cases")
    where = engines.device()
    on_gpu = where.type == "cuda"
    todo = [case for case in cases if not stage.artefacts.exists(f"{case.output_prefix}meta.json")]
    skipped = len(cases) - len(todo)
    if skipped:
        progress.update(skipped, skipped=True)
    voxels = 0
    began = time.monotonic()
    for done, size in enumerate(_all_cases(stage.artefacts, todo, plan, preparation, where), 1):
        voxels += size
        progress.update(skipped + done)
    seconds = time.monotonic() - began
    return stage.result(
        PreprocessResult,
        cases=len(cases),
        done=len(todo),
        skipped=skipped,
        voxels=voxels,
        volumes_per_second=round(len(todo) / seconds, 4) if todo else 0.0,
        host=host.describe(
            ("torch", "nibabel", "numpy", "scipy"),
            gpus=1 if on_gpu else 0,
            fallbacks=[] if on_gpu else ["There is no GPU: the cases were prepared on the CPU."],
        ),
    )


def _all_cases(
    artefacts: Store,
    cases: list[PreprocessCase],
    plan: Plan,
    preparation: Preparation,
    where: torch.device,
) -> Iterator[int]:
    """Writes the arrays of each case; yields the voxels of its image."""

    def decode(case: PreprocessCase) -> _Decoded:
        document = artefacts.read_json(case.record_key)
        record = contract.parse(CaseRecord, document, f"the record of {case.case_id}")
        image_czyx = [read_canonical(artefacts.local(key)).voxels_zyx for key in record.images]
        return _Decoded(case, record, image_czyx, read_label(artefacts, record))

    def computed(decoded: _Decoded) -> tuple[PreprocessCase, Prepared]:
        try:
            prepared = prepare(
                decoded.image_czyx,
                decoded.record.spacing_mm_zyx,
                preparation,
                label_zyx=decoded.label_zyx,
                box_zyx=decoded.record.nonzero_box_zyx,
                where=where,
            )
        except StageError as error:
            error.case_id = error.case_id or decoded.case.case_id
            raise
        return decoded.case, prepared

    def write(made: tuple[PreprocessCase, Prepared]) -> int:
        return _write(artefacts, *made, plan, preparation)

    on_gpu = where.type == "cuda"
    ahead = _AHEAD_ON_GPU if on_gpu else 1

    def large(decoded: _Decoded) -> bool:
        return not on_gpu and decoded.image_czyx[0].size >= _LARGE_VOXELS

    with ThreadPoolExecutor(ahead, "decode") as decoding, ThreadPoolExecutor(ahead, "write") as writing:
        decoded = in_order(decoding, decode, cases, ahead, large)
        yield from in_order(writing, write, map(computed, decoded), ahead, lambda _: not on_gpu)


def _write(
    artefacts: Store, case: PreprocessCase, prepared: Prepared, plan: Plan, preparation: Preparation
) -> int:
    _put_array(artefacts, f"{case.output_prefix}image.npy", prepared.image_cdhw.cpu().numpy())
    if prepared.label_dhw is not None:
        label_dhw = prepared.label_dhw.cpu().numpy()
        _put_array(artefacts, f"{case.output_prefix}label.npy", label_dhw)
        packed = io.BytesIO()
        locations = foreground_locations(label_dhw, plan.network.output_classes)
        np.savez(packed, **locations)  # type: ignore[arg-type]
        artefacts.write(f"{case.output_prefix}foreground.npz", packed.getvalue())
    artefacts.write_json(f"{case.output_prefix}meta.json", _meta(case, preparation, prepared))
    return prepared.image_cdhw.numel()


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
