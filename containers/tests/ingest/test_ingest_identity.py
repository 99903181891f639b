"""No patient's identity leaves ingest: identifiers are planted everywhere and looked for in all it writes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import ct_series
import nibabel as nib
import numpy as np
import pytest
from ingest_drop import AFFINE, Drop, image_zyx, label_zyx
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from voxelburst.stages import ingest

# Every planted identifier holds this word, or is one of the UIDs that the test notes.
SECRET = "Kowalczyk"
KEY = "a key that is nobody's name"


@pytest.fixture
def found(drop: Drop) -> list[str]:
    """Fills and runs a dataset full of identifiers, and returns where they were found again."""
    folder = f"{SECRET}_Maria_1961"
    uids: list[str] = []
    plant_nifti(drop, folder)
    plant_series(drop, folder, uids)
    plant_broken(drop, folder, uids)
    drop.write_task()
    # A process of its own, and loud: what libraries log, warn of or print from C must not leak either.
    done = subprocess.run(
        [sys.executable, "-W", "always", "-m", "voxelburst", "ingest", "--task", drop.task_uri],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(ingest.__file__).parents[2]),
            "VOXELBURST_PSEUDONYM_KEY": KEY,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    drop.out, drop.err = done.stdout, done.stderr
    assert done.returncode == 0, drop.err
    assert len(drop.cases()) == 2
    assert len(drop.quarantined()) == 5
    return leaks(drop, [SECRET, "Maria", "1961", *uids])


def test_no_planted_identifier_is_in_any_output_log_or_error(found: list[str]) -> None:
    assert found == []


def test_the_search_would_find_a_leak(drop: Drop) -> None:
    drop.artefacts.write("ingest/x/image.nii.gz", gzip.compress(f"1961 {SECRET}".encode()))
    drop.artefacts.write(f"ingest/{SECRET}", "")
    drop.out = "reading Maria.dcm"
    assert leaks(drop, [SECRET, "Maria"]) == [
        "stdout",
        f"name of artefacts/ingest/{SECRET}",
        "artefacts/ingest/x/image.nii.gz",
    ]


def leaks(drop: Drop, words: list[str]) -> list[str]:
    """Where a word occurs in what the run wrote: names, contents (inside gzip too), stdout, stderr."""
    texts = {"stdout": drop.out.encode(), "stderr": drop.err.encode()}
    inputs = ("tasks/ingest",)
    for root in (drop.root / "artefacts", drop.root / "quarantine"):
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(drop.root))
            texts[f"name of {name}"] = name.encode()
            if path.is_file() and not any(part in name for part in inputs):
                content = path.read_bytes()
                texts[name] = gzip.decompress(content) if path.suffix == ".gz" else content
    return [where for where, text in texts.items() if any(word.encode() in text for word in words)]


def plant_nifti(drop: Drop, folder: str) -> None:
    for kind, voxels in (("images", image_zyx()), ("labels", label_zyx())):
        image = nib.Nifti1Image(voxels.T, AFFINE)
        for name in ("descrip", "aux_file", "db_name", "intent_name"):
            image.header[name] = SECRET
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{SECRET} 1961".encode()))
        path = drop.data / folder / kind / f"{SECRET}.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(image, path)
    drop.line(
        "case-1",
        f"{folder}/images/{SECRET}.nii.gz",
        label={"key": f"{folder}/labels/{SECRET}.nii.gz", "bytes": 1},
    )


def identified(uids: list[str]) -> list[Dataset]:
    """A series with an identifier in every attribute that holds text, in sequences and private tags too."""
    series = ct_series.slices()
    study = generate_uid()
    for dataset in series:
        # No valid UID: pydicom warns about it, quoting it.
        dataset.SeriesInstanceUID = f"1.2.{SECRET}"
        dataset.StudyInstanceUID = dataset.FrameOfReferenceUID = study
        for tag, (vr, *_) in DicomDictionary.items():
            if tag in dataset or not 0x00080000 <= tag < 0x00500000:
                continue
            if vr in ("LO", "SH", "LT", "ST", "UT", "UC"):
                dataset.add_new(tag, vr, SECRET)
            elif vr == "PN":
                dataset.add_new(tag, vr, f"{SECRET}^Maria")
            elif vr == "DA":
                dataset.add_new(tag, vr, "19610101")
        dataset.PatientID = f"{SECRET}-1961"
        inner = Dataset()
        inner.PatientName = f"{SECRET}^Maria"
        dataset.ReferencedStudySequence = [inner]
        private = dataset.private_block(0x0009, f"{SECRET} creator", create=True)
        private.add_new(1, "LO", SECRET)
        dataset.BurnedInAnnotation = "NO"
        uids += [str(dataset.SOPInstanceUID), str(study)]
    return series


def plant_series(drop: Drop, folder: str, uids: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(drop.data / folder / "scan", identified(uids))
    drop.line("case-2", f"{folder}/scan/", label=None, split="test")


def plant_broken(drop: Drop, folder: str, uids: list[str]) -> None:
    """Five cases that are refused, each at another place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut = identified(uids)
        write(drop.data / folder / "cut", cut)
        path = drop.data / folder / "cut" / f"{SECRET}-3.dcm"
        path.write_bytes(path.read_bytes()[:-50])

        bad_value = identified(uids)
        write(drop.data / folder / "value", bad_value)
        path = drop.data / folder / "value" / f"{SECRET}-2.dcm"
        path.write_bytes(path.read_bytes().replace(b"-10.000000\\", b"Kowalczyk0\\"))

        write(drop.data / folder / "few", identified(uids)[:2])
        several = identified(uids)
        for dataset in several[:3]:
            dataset.SeriesInstanceUID = generate_uid()
            uids.append(str(dataset.SeriesInstanceUID))
        write(drop.data / folder / "several", several)
    for name in ("cut", "value", "few", "several"):
        drop.line(f"bad-{name}", f"{folder}/{name}/", label=None, split="test")
    drop.line("bad-missing", f"{folder}/{SECRET}-gone.nii.gz")


def write(folder: Path, series: list[Dataset]) -> None:
    ct_series.write(folder, series, lambda number: f"{SECRET}-{number}.dcm")


def test_a_failure_of_the_stage_names_the_case_and_not_the_file(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_nifti(drop, f"{SECRET}_1961")

    def unreadable(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("voxelburst.volumes.source.read_nifti", unreadable)
    assert drop.run() == 1
    error = drop.artefacts.read_json("runs/demo-0123456789ab-1/errors/ingest.json")
    assert error["code"] == "InputUnreadable"
    assert error["caseId"] == "case-1"
    assert SECRET not in drop.out + drop.err + json.dumps(error)


def test_canonical_headers_hold_geometry_alone(drop: Drop) -> None:
    plant_nifti(drop, SECRET)
    assert drop.run() == 0
    record = drop.record()
    for key in [*record.images, record.label]:
        header = nib.load(drop.artefacts.local(str(key))).header
        assert len(header.extensions) == 0
        for name in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
            assert bytes(header[name]).strip(b"\0") == b""
    assert np.array_equal(drop.volume()[0], image_zyx())
