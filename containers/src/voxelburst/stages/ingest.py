"""ingest: images as they were given become canonical, checked, de-identified volumes with a record each.

A case that cannot be used goes to quarantine with a code and the run goes on. What is not the case's fault (a
full disk, no memory) fails the stage. No path, file name, UID or patient's identity is written or logged.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from ..contract import (
    CaseRecord,
    IngestCase,
    IngestedCase,
    IngestResult,
    IngestTask,
    QuarantineEntry,
    Warning,
    to_json,
)
from ..errors import StageError, from_exception
from ..host import describe
from ..stage import Stage
from ..storage import Store
from ..volumes import Volume, write_canonical
from ..volumes.canonical import rounded_affine
from ..volumes.checks import check_label, check_same_grid
from ..volumes.fingerprint import intensities, nonzero_box
from ..volumes.orientation import with_axes_of
from ..volumes.refusal import Refusal
from ..volumes.source import Images, read_images, read_nifti_at

_KEY_VARIABLE = "VOXELBURST_PSEUDONYM_KEY"


def run(task: IngestTask, stage: Stage) -> IngestResult:
    """Ingests this child's cases; its lines go to runs/<id>/ingest/<index>.{cases,quarantine}.jsonl."""
    cases = stage.cases(IngestCase)
    progress = stage.progress(len(cases), "cases")
    quarantine = Store(task.quarantine_uri)
    good: list[IngestedCase] = []
    refused: list[QuarantineEntry] = []
    skipped = 0
    for position, case in enumerate(cases, start=1):
        record_key = f"ingest/{case.case_hash}/record.json"
        if _is_complete(stage.artefacts, record_key, case):
            skipped += 1
            good.append(IngestedCase(case_id=case.case_id, record_key=record_key))
            progress.update(position, skipped=True)
            continue
        try:
            _ingest(task, stage, case, record_key)
            good.append(IngestedCase(case_id=case.case_id, record_key=record_key))
            progress.update(position)
        except Refusal as refusal:
            entry = _entry(case, refusal)
            refused.append(entry)
            quarantine.write_json(f"{case.case_id}.json", to_json(entry))
            progress.update(position, f"{case.case_id} is refused: {refusal.code}")
        except OSError as error:
            raise _without_path(error, case.case_id) from None
        finally:
            _forget(stage.dataset, case)
    index = stage.index or 0
    cases_key = f"{task.run_prefix}ingest/{index}.cases.jsonl"
    quarantine_key = f"{task.run_prefix}ingest/{index}.quarantine.jsonl"
    stage.artefacts.write_lines(cases_key, map(to_json, good))
    stage.artefacts.write_lines(quarantine_key, map(to_json, refused))
    return stage.result(
        IngestResult,
        host=describe(("numpy", "nibabel", "pydicom")),
        cases=len(cases),
        done=len(good) - skipped,
        skipped=skipped,
        quarantined=len(refused),
        cases_key=cases_key,
        quarantine_key=quarantine_key,
    )


def _forget(dataset: Store, case: IngestCase) -> None:
    """Removes copies of the case's objects from the scratch disk, which would fill up with them."""
    if dataset.is_local:
        return
    for item in [*case.images, *([case.label] if case.label else [])]:
        for key in dataset.tree(item.key) if item.key.endswith("/") else [item.key]:
            dataset.forget(key)


def _is_complete(artefacts: Store, record_key: str, case: IngestCase) -> bool:
    """Whether an earlier run has ingested this very case.

    The hash covers the content; should a record of that content carry another name, split, class or patient,
    the case is done again rather than counted under them.
    """
    if not artefacts.exists(record_key):
        return False
    record = artefacts.read_json(record_key)
    return (
        record["caseId"] == case.case_id
        and record["split"] == case.split
        and record.get("class") == case.class_name
        and case.patient in (None, record.get("patient"))
    )


def _ingest(task: IngestTask, stage: Stage, case: IngestCase, record_key: str) -> None:
    images = read_images(
        stage.dataset, [image.key for image in case.images], task.definition.channels, task.min_slices
    )
    first = images.channels[0]
    warnings = list(images.warnings)
    label_zyx = label_voxels = None
    label = _read_label(task, stage, case)
    if label is not None:
        volume, label_warnings = label
        if images.source.kind == "dicom":
            volume = with_axes_of(first.affine, first.shape_xyz, volume)
        check_same_grid(first, volume, "Label")
        label_zyx, label_voxels, found = check_label(volume, task.definition.labels)
        warnings += [*label_warnings, *found]

    prefix = record_key.removesuffix("record.json")
    names = {f"{prefix}image_{c:04d}.nii.gz": volume for c, volume in enumerate(images.channels)}
    label_key = None
    written = dict(names)
    if label_zyx is not None:
        label_key = f"{prefix}label.nii.gz"
        written[label_key] = Volume(voxels_zyx=label_zyx, affine=first.affine)
    sha256 = {}
    for key, volume in written.items():
        path = stage.artefacts.scratch(key)
        try:
            # One affine for all: within the tolerance, the image's stands for its label's and its channels'.
            sha256[key] = write_canonical(path, Volume(voxels_zyx=volume.voxels_zyx, affine=first.affine))
            stage.artefacts.upload(path, key)
        finally:
            path.unlink(missing_ok=True)

    box = nonzero_box([volume.voxels_zyx for volume in images.channels])
    affine = rounded_affine(first.affine)
    record = CaseRecord(
        case_id=case.case_id,
        case_hash=case.case_hash,
        split=case.split,
        patient=case.patient or _pseudonym(images),
        class_name=case.class_name,
        source=images.source,
        prefix=prefix,
        images=list(names),
        label=label_key,
        shape_zyx=first.shape_zyx,
        spacing_mm_zyx=Volume(voxels_zyx=first.voxels_zyx, affine=affine).spacing_mm_zyx,
        affine=affine.tolist(),
        dtype=str(first.voxels_zyx.dtype),
        nonzero_box_zyx=box,
        label_voxels=label_voxels,
        channels=[intensities(volume.voxels_zyx, label_zyx, box) for volume in images.channels],
        sha256=sha256,
        bytes=sum(item.bytes for item in [*case.images, *([case.label] if case.label else [])]),
        warnings=warnings,
    )
    # Last: the record's existence says that everything else of the case exists.
    stage.artefacts.write_json(record_key, to_json(record))


def _read_label(task: IngestTask, stage: Stage, case: IngestCase) -> tuple[Volume, list[Warning]] | None:
    """(volume, warnings) of the case's label, or None where none is wanted."""
    if case.label is None:
        wants_label = case.split == "training" and any(label.value > 0 for label in task.definition.labels)
        if wants_label:
            raise Refusal(
                "LabelMissing",
                "The training case has no label: dataset.json names none, or a file that is not there.",
                "Put the file where dataset.json says, name one there, or list the case under `test`.",
                got="no label",
                allowed="one label a training case",
            )
        return None
    if not case.label.key.lower().endswith((".nii", ".nii.gz")):
        raise Refusal(
            "LabelFormatUnsupported",
            "The label is not a NIfTI.",
            "Convert the label (DICOM SEG, RTSTRUCT) to NIfTI on the image's grid.",
            got="another format",
            allowed=".nii or .nii.gz",
        )
    image = read_nifti_at(stage.dataset, case.label.key, "Label", is_label=True)
    if len(image.channels) != 1:
        raise Refusal(
            "LabelShapeDiffers",
            "The label is 4D: it has several volumes.",
            "Combine the volumes into one label with a value a class.",
            got=f"{len(image.channels)} volumes",
            allowed="1",
        )
    return image.channels[0], image.warnings


def _pseudonym(images: Images) -> str | None:
    """The keyed hash that stands for the DICOM header's PatientID; None without a key or an ID."""
    key = os.environ.get(_KEY_VARIABLE)
    if not key or not images.patient_id:
        return None
    digest = hmac.new(key.encode(), images.patient_id.encode(), hashlib.sha256).hexdigest()
    return f"patient-{digest[:16]}"


def _entry(case: IngestCase, refusal: Refusal) -> QuarantineEntry:
    return QuarantineEntry(
        case_id=case.case_id,
        code=refusal.code,
        message=refusal.message,
        got=refusal.got,
        allowed=refusal.allowed,
        remedy=refusal.remedy,
    )


def _without_path(error: OSError, case_id: str) -> Exception:
    """The same failure without the file name that Python puts into an OSError's text."""
    coded = from_exception(error)
    if coded.code == "DiskFull":
        return coded
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return StageError(
        "InputUnreadable",
        f"A file of case {case_id} cannot be read or written: {reason}.",
        "Check the permissions and the disk, and resume the run.",
        got=reason,
        case_id=case_id,
    )
