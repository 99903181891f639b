"""The stage around the checks: shards, skipping, counts, order of writing, failures that are not a case's."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ct_series
import nibabel as nib
import numpy as np
import pytest
from ingest_drop import AFFINE, RUN, Drop, image_zyx, label_zyx, save

from voxelburst.stages import ingest
from voxelburst.storage import Store
from voxelburst.volumes import read_image, read_label


def test_a_good_case_becomes_canonical_volumes_and_a_record(drop: Drop) -> None:
    drop.add(patient="patient-0123456789abcdef")
    assert drop.run() == 0
    record = drop.record()
    prefix = f"ingest/{drop.lines[0]['caseHash']}/"
    assert record.images == [f"{prefix}image_0000.nii.gz"]
    assert record.label == f"{prefix}label.nii.gz"
    assert record.shape_zyx == (6, 7, 8)
    assert record.spacing_mm_zyx == (2.0, 1.5, 1.5)
    assert np.allclose(record.affine, AFFINE)
    assert record.patient == "patient-0123456789abcdef"
    assert record.source.kind == "nifti"
    assert record.bytes == 2
    assert record.dtype == "int16"
    assert record.label_voxels == {"0": 336 - 36, "1": 34, "2": 2}
    for key, digest in record.sha256.items():
        assert hashlib.sha256(drop.artefacts.read(key)).hexdigest() == digest
    image = nib.load(drop.artefacts.local(record.images[0]))
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    assert np.allclose(image.header.get_qform(), AFFINE, atol=1e-5)
    assert np.array_equal(np.asarray(nib.load(drop.artefacts.local(record.label)).dataobj).T, label_zyx())
    image_czyx, affine = read_image(drop.artefacts, record)
    assert np.array_equal(image_czyx[0], image_zyx())
    assert np.allclose(affine, AFFINE)
    assert np.array_equal(read_label(drop.artefacts, record), label_zyx())


def test_the_fingerprint_is_of_the_foreground(drop: Drop) -> None:
    drop.add()
    assert drop.run() == 0
    (found,) = drop.record().channels
    values = image_zyx()[label_zyx() > 0].astype(np.float64)
    assert found.count == len(values) == 36
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std())
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.quantiles == pytest.approx(np.quantile(values, np.linspace(0, 1, 401)))


def test_the_nonzero_box_is_the_union_over_channels(drop: Drop) -> None:
    drop.channels = ["A", "B"]
    drop.add()
    first, second = np.zeros((6, 7, 8), np.int16), np.zeros((6, 7, 8), np.int16)
    first[2, 3, 4] = 5
    second[3, 1, 4] = -7
    save(drop.image(), np.stack([first, second]))
    assert drop.run() == 0
    assert drop.record().nonzero_box_zyx == ((2, 4), (1, 4), (4, 5))


def test_the_same_input_gives_the_same_bytes(drop: Drop) -> None:
    drop.add()
    assert drop.run() == 0
    before = drop.record().sha256
    for key in [*before, drop.cases()[0]["recordKey"]]:
        drop.artefacts.local(key).unlink()
    assert drop.run() == 0
    assert drop.record().sha256 == before


def test_every_child_of_the_array_takes_its_share(drop: Drop) -> None:
    for number in range(3):
        drop.add(f"case-{number}")
    for index in (0, 1):
        assert drop.run(index) == 0
    assert [case["caseId"] for case in drop.cases(0)] == ["case-0", "case-2"]
    assert [case["caseId"] for case in drop.cases(1)] == ["case-1"]
    assert drop.result(1)["cases"] == drop.result(1)["done"] == 1
    assert drop.result(1)["casesKey"] == f"{RUN}ingest/1.cases.jsonl"


def test_a_child_without_cases_succeeds_with_counts_of_zero(drop: Drop) -> None:
    drop.add()
    assert drop.run(1) == 0
    result = drop.result(1)
    assert (result["cases"], result["done"], result["skipped"], result["quarantined"]) == (0, 0, 0, 0)
    assert drop.cases(1) == drop.quarantined(1) == []


def test_what_is_complete_is_skipped_and_still_listed(drop: Drop) -> None:
    drop.add()
    assert drop.run() == 0
    changed = drop.artefacts.local(drop.record().images[0]).stat().st_mtime_ns
    drop.add("case-2")
    assert drop.run() == 0
    result = drop.result()
    assert (result["cases"], result["done"], result["skipped"]) == (2, 1, 1)
    assert [case["caseId"] for case in drop.cases()] == ["case-1", "case-2"]
    assert drop.artefacts.local(drop.record().images[0]).stat().st_mtime_ns == changed


def test_a_record_under_another_name_is_not_taken_for_the_case(drop: Drop) -> None:
    line = drop.add()
    assert drop.run() == 0
    line["caseId"] = "renamed"
    assert drop.run() == 0
    assert drop.result()["done"] == 1
    assert drop.record("renamed").case_id == "renamed"


def test_a_case_without_its_record_is_done_again(drop: Drop) -> None:
    drop.add()
    assert drop.run() == 0
    drop.artefacts.local(drop.cases()[0]["recordKey"]).unlink()
    assert drop.run() == 0
    assert drop.result()["done"] == 1


def test_the_run_goes_on_behind_a_refused_case(drop: Drop) -> None:
    for case_id in ("a", "b", "c"):
        drop.add(case_id)
    drop.image("b").write_bytes(b"")
    assert drop.run() == 0
    result = drop.result()
    assert (result["done"], result["quarantined"]) == (2, 1)
    assert [case["caseId"] for case in drop.cases()] == ["a", "c"]
    assert [entry["caseId"] for entry in drop.quarantined()] == ["b"]


def test_the_record_is_written_last(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    drop.add()
    written: list[str] = []
    upload, write = Store.upload, Store.write

    def note_upload(self: Store, source: Path, key: str) -> None:
        written.append(key.rsplit("/", 1)[-1])
        upload(self, source, key)

    def note_write(self: Store, key: str, body: bytes | str) -> None:
        written.append(key.rsplit("/", 1)[-1])
        write(self, key, body)

    monkeypatch.setattr(Store, "upload", note_upload)
    monkeypatch.setattr(Store, "write", note_write)
    assert drop.run() == 0
    order = [n for n in written if n.endswith(".gz") or n == "record.json"]
    assert order == ["image_0000.nii.gz", "label.nii.gz", "record.json"]


def full_disk(path: Path, *_: object) -> str:
    path.touch()
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def no_memory(*_: object) -> str:
    raise MemoryError


@pytest.mark.parametrize(("failure", "code"), [(full_disk, "DiskFull"), (no_memory, "OutOfMemory")])
def test_a_failure_of_the_system_fails_the_stage_and_condemns_no_case(
    drop: Drop, monkeypatch: pytest.MonkeyPatch, failure: object, code: str
) -> None:
    drop.add()
    monkeypatch.setattr(ingest, "write_canonical", failure)
    assert drop.run() == 1
    assert drop.artefacts.read_json(f"{RUN}errors/ingest.json")["code"] == code
    assert not drop.artefacts.exists(f"{RUN}ingest/0.quarantine.jsonl")
    assert drop.artefacts.names(f"ingest/{drop.lines[0]['caseHash']}/") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_fails_the_stage_without_its_path(drop: Drop) -> None:
    drop.add()
    drop.image().chmod(0)
    assert drop.run() == 1
    error = drop.artefacts.read_json(f"{RUN}errors/ingest.json")
    assert error["code"] == "InputUnreadable"
    assert "imagesTr" not in drop.out + drop.err + json.dumps(error)


def test_a_test_case_needs_no_label(drop: Drop) -> None:
    drop.add(split="test", label=None)
    assert drop.run() == 0
    record = drop.record()
    assert (record.label, record.label_voxels, record.split) == (None, None, "test")
    assert record.channels[0].count == 6 * 7 * 8


def test_the_patient_of_a_series_is_known_by_its_keyed_hash_alone(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct_series.write(drop.data / "imagesTr/scan", ct_series.slices())
    drop.line("case-1", "imagesTr/scan/", label=None, split="test")
    assert drop.run() == 0
    assert drop.record().patient is None  # no key, no pseudonym
    drop.lines[0]["caseHash"] = "2" * 64
    monkeypatch.setenv("VOXELBURST_PSEUDONYM_KEY", "a key")
    assert drop.run() == 0
    # HMAC-SHA256("a key", "Z-17"), computed with openssl.
    assert drop.record().patient == "patient-9a6b8d0e945704b8"


def test_progress_counts_cases_and_the_result_says_where_it_ran(drop: Drop) -> None:
    drop.add("a")
    drop.add("b")
    assert drop.run() == 0
    last = json.loads(drop.out.splitlines()[-1])
    assert (last["type"], last["done"], last["total"], last["unit"]) == ("progress", 2, 2, "cases")
    host = drop.result()["host"]
    assert host["backend"] == "cpu"
    assert {"python", "numpy", "nibabel", "pydicom"} <= set(host["versions"])


def test_ingest_starts_without_pytorch(drop: Drop) -> None:
    drop.add()
    drop.write_task()
    source = Path(ingest.__file__).parents[2]
    script = (
        "import sys; from voxelburst.__main__ import main; code = main(sys.argv[1:]); "
        "assert not {'torch', 'monai', 'nvidia.dali'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "ingest", "--task", drop.task_uri],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert drop.result()["done"] == 1
