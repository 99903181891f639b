"""Lays a phantom dataset out: good cases, planted ones, what is expected of them, and dataset.json last."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StageError
from .anatomy import LESION, ORGAN, Anatomy, Lattice, render
from .dicom_series import FORMS, ras_affine, write_series
from .planted import Planted, plant, save

# Raised when the same arguments give other bytes than before: an old folder is then not taken for this one.
_GENERATOR = 3
# Patients with two visits each, as positions of their cases among the training cases.
_VISITS = {0: ("patient-one", 0), 1: ("patient-one", 1), 6: ("patient-two", 0), 7: ("patient-two", 1)}
# Of a dataset of classes: whole volumes without and with a lesion in the organ.
CLASSES = ("without-lesion", "with-lesion")
_LABELS = {"0": "background", str(ORGAN): "organ", str(LESION): "lesion"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for. shape_xyz and spacing_xyz, where given, hold for every case."""

    seed: int
    cases: int
    test_cases: int
    dicom: int
    size: int
    shape_xyz: tuple[int, int, int] | None
    spacing_xyz: tuple[float, float, float] | None
    planted: bool
    classes: bool = False


@dataclass(frozen=True, kw_only=True)
class _Case:
    case_id: str
    split: str
    number: int
    form: str
    patient: str | None
    visit: int

    @property
    def class_name(self) -> str:
        """Cases in pairs, so that a patient's two visits are of one class."""
        return CLASSES[self.number // 2 % 2]


def expected_path(out: Path) -> Path:
    """Beside the dataset, not in it: a dataset's folder holds nothing but the dataset."""
    return out.with_name(f"{out.name}.expected.json")


def write_dataset(out: Path, request: Request, say: Callable[[int], None]) -> dict[str, Any]:
    """Writes the dataset below ``out`` and what it must lead to into ``<out>.expected.json``.

    Args:
        out: made here; must not hold another dataset.
        request: what is asked for.
        say: called with the number of cases done.

    Returns:
        the content of the expected file, with "skipped": true when the dataset existed already.

    Raises:
        StageError: FolderNotEmpty.
    """
    asked = {name: value for name, value in asdict(request).items() if name != "classes" or value}
    arguments = json.loads(json.dumps({"generator": _GENERATOR, **asked}))
    known = _read_expected(out)
    if known and known["arguments"] == arguments and (out / "dataset.json").exists():
        return {**known, "skipped": True}
    if out.exists() and any(out.iterdir()):
        raise StageError(
            "FolderNotEmpty",
            "The folder for the phantoms holds something else already.",
            "Choose another --out, or remove the folder first.",
            field="--out",
            got="a folder that is not empty",
            allowed="an empty or a new folder",
        )
    out.mkdir(parents=True, exist_ok=True)
    cases = _cases(request)
    entries: dict[str, list[dict[str, str]]] = {"training": [], "test": []}
    described = []
    for done, case in enumerate(cases, start=1):
        entry, facts = _write_case(out, case, request)
        entries[case.split].append(entry)
        described.append(facts)
        say(done)
    planted = plant(out, request.seed) if request.planted else []
    expected = _expected(arguments, described, planted)
    expected_path(out).write_text(json.dumps(expected, indent=1) + "\n")
    manifest = _manifest(entries["training"] + [p.entry for p in planted], entries["test"], request.classes)
    (out / "dataset.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return {**expected, "skipped": False}


def _read_expected(out: Path) -> dict[str, Any] | None:
    path = expected_path(out)
    return json.loads(path.read_text()) if path.exists() else None


def _cases(request: Request) -> list[_Case]:
    """Training cases, every fourth (as far as --dicom goes) as a DICOM series, then test cases as NIfTI."""
    step = max(request.cases // max(request.dicom, 1), 1)
    as_dicom = [number * step + step - 1 for number in range(request.dicom)]
    cases = []
    for number in range(request.cases):
        patient, visit = _VISITS.get(number, (None, 0))
        form = FORMS[as_dicom.index(number) % len(FORMS)] if number in as_dicom else "nifti"
        cases.append(
            _Case(
                case_id=f"phantom-{number + 1:03d}",
                split="training",
                number=number,
                form=form,
                patient=patient,
                visit=visit,
            )
        )
    for number in range(request.test_cases):
        cases.append(
            _Case(
                case_id=f"phantom-test-{number + 1:03d}",
                split="test",
                number=request.cases + number,
                form="nifti",
                patient=None,
                visit=0,
            )
        )
    return cases


def _write_case(out: Path, case: _Case, request: Request) -> tuple[dict[str, str], dict[str, Any]]:
    rng = np.random.default_rng([request.seed, case.number])
    # A patient's visits share the anatomy, which the patient's own seed draws.
    who = [request.seed, 5000, *case.patient.encode()] if case.patient else [request.seed, 5000, case.number]
    anatomy = Anatomy.draw(np.random.default_rng(who))
    if request.classes:
        own = np.random.default_rng([*who, 1])
        anatomy = anatomy.fatter(own)
        if case.class_name == CLASSES[0]:
            anatomy = anatomy.without_lesion(own)
    if case.visit:
        anatomy = anatomy.at_visit(rng)
    lattice = _lattice(request, rng)
    image_zyx, label_zyx = render(anatomy, lattice, rng)
    folder = "imagesTr" if case.split == "training" else "imagesTs"
    if case.form == "nifti":
        affine = np.diag([*lattice.spacing_xyz, 1.0])
        affine[:3, 3] = rng.uniform(-120, 40, 3)
        image = f"{folder}/{case.case_id}.nii.gz"
        # Archives mix types: every fifth image is kept as floats.
        save(out / image, image_zyx.astype(np.float32) if case.number % 5 == 2 else image_zyx, affine)
    else:
        affine = ras_affine(lattice)
        image = f"{folder}/{case.case_id}"
        write_series(
            out / image,
            image_zyx,
            lattice,
            form=case.form,
            patient_id=case.patient or f"id-{case.case_id}",
            seed=f"{request.seed} {case.case_id}",
        )
    entry = {"id": case.case_id, "image": image}
    if case.patient:
        entry["patient"] = case.patient
    if case.split == "training" and request.classes:
        entry["class"] = case.class_name
    elif case.split == "training":
        entry["label"] = f"labelsTr/{case.case_id}.nii.gz"
        save(out / entry["label"], label_zyx, affine)
    facts = {
        "caseId": case.case_id,
        "split": case.split,
        **({"class": case.class_name} if request.classes else {}),
        "form": case.form,
        "shapeZyx": list(image_zyx.shape),
        "spacingMmZyx": [round(v, 6) for v in reversed(lattice.spacing_xyz)],
        "organVoxels": int((label_zyx == ORGAN).sum()),
        "lesionVoxels": int((label_zyx == LESION).sum()),
    }
    return entry, facts


def _lattice(request: Request, rng: np.random.Generator) -> Lattice:
    """A size around the one asked for, and spacings that make it a body of 75 to 105 mm (or larger)."""
    drawn = tuple(int(n) for n in np.rint(request.size * rng.uniform(0.875, 1.25, 3)))
    x, y, z = request.shape_xyz or (drawn[0], drawn[1], drawn[2])
    # Small volumes are small fields of view; 512 voxels see a whole trunk (about 360 mm).
    field_mm = 85.0 * (max(x, y, z) / 52) ** 0.63 * rng.uniform(0.92, 1.12)
    in_plane = round(float(np.clip(field_mm / max(x, y), 0.4, 2.5)), 3)
    along = round(float(np.clip(in_plane * max(x, y) / z * rng.uniform(0.85, 1.0), 0.4, 2.5)), 3)
    return Lattice(shape_xyz=(x, y, z), spacing_xyz=request.spacing_xyz or (in_plane, in_plane, along))


def _expected(
    arguments: dict[str, Any], cases: list[dict[str, Any]], planted: list[Planted]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "arguments": arguments,
        "training": sum(case["split"] == "training" for case in cases),
        "test": sum(case["split"] == "test" for case in cases),
        "quarantine": {p.case_id: p.code for p in planted},
        "reasons": {p.case_id: p.reason for p in planted},
        "cases": cases,
    }


def _manifest(training: list[dict[str, str]], test: list[dict[str, str]], classes: bool) -> dict[str, Any]:
    return {
        "name": "Phantoms",
        "description": "Synthetic CT-like volumes with an organ and a lesion, made by voxelburst phantoms.",
        "licence": "CC0-1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        **({"classes": list(CLASSES)} if classes else {"labels": _LABELS}),
        "numTraining": len(training),
        "numTest": len(test),
        "training": training,
        "test": test,
    }
