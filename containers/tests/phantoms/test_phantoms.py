"""Phantom datasets: one seed, the same bytes; no threshold finds the lesion; what is planted is refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelburst import phantoms, stage
from voxelburst.errors import StageError
from voxelburst.phantoms.anatomy import Anatomy, Lattice, render
from voxelburst.stages import ingest
from voxelburst.storage import Store


def generate(out: Path, *arguments: str, seed: int = 11) -> dict:
    assert phantoms.main(["--out", str(out), "--seed", str(seed), *arguments]) == 0
    return json.loads(out.with_name(f"{out.name}.expected.json").read_text())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The default dataset of 16 cases."""
    out = tmp_path_factory.mktemp("phantoms") / "demo"
    return out, generate(out)


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    arguments = ("--cases", "4", "--dicom", "4", "--size", "18", "--test-cases", "1")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, *arguments, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_the_dataset_folder_holds_the_dataset_alone(demo: tuple[Path, dict]) -> None:
    out, expected = demo
    manifest = json.loads((out / "dataset.json").read_text())
    assert sorted(p.name for p in out.iterdir()) == ["dataset.json", "imagesTr", "imagesTs", "labelsTr"]
    assert len(manifest["training"]) == expected["training"] + len(expected["quarantine"]) == 25
    assert len(manifest["test"]) == expected["test"] == 1
    assert manifest["modality"] == {"0": "CT"}
    assert manifest["labels"] == {"0": "background", "1": "organ", "2": "lesion"}
    named = {e["image"] for e in manifest["training"] + manifest["test"]}
    there = {f"imagesTr/{p.name}" for p in (out / "imagesTr").iterdir()}
    assert there <= named


def test_two_patients_have_two_visits_each(demo: tuple[Path, dict]) -> None:
    manifest = json.loads((demo[0] / "dataset.json").read_text())
    visits = Counter(entry["patient"] for entry in manifest["training"] if "patient" in entry)
    assert visits == {"patient-one": 2, "patient-two": 2}


def test_sizes_and_spacings_vary_within_what_two_cores_can_train_on(demo: tuple[Path, dict]) -> None:
    cases = demo[1]["cases"]
    assert all(42 <= n <= 60 for case in cases for n in case["shapeZyx"])
    assert all(1 <= mm <= 2.5 for case in cases for mm in case["spacingMmZyx"])
    assert len({tuple(case["shapeZyx"]) for case in cases}) > 12
    assert Counter(case["form"] for case in cases) == {
        "nifti": 13,
        "explicit": 1,
        "rle": 1,
        "jpeg-ls": 1,
        "monochrome1": 1,
    }
    assert all(case["lesionVoxels"] > 800 and case["organVoxels"] > 6000 for case in cases)


def volumes(out: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (Hounsfield units above -1024) and labels of the cases that are NIfTI."""
    found = []
    for path in sorted((out / "imagesTr").glob("phantom-*.nii.gz")):
        image = np.rint(np.asarray(nib.load(path).dataobj)).astype(np.int64) + 1024
        found.append((image, np.asarray(nib.load(out / "labelsTr" / path.name).dataobj)))
    return found


def best_band_dice(of_all: np.ndarray, of_lesion: np.ndarray) -> float:
    """The best Dice of any threshold or band, from the intensity histograms of all and of lesion voxels."""
    every, lesion = (np.r_[0, np.cumsum(h)] for h in (of_all, of_lesion))
    hit = lesion[None, :] - lesion[:, None]
    marked = every[None, :] - every[:, None]
    return float(np.triu(2 * hit / np.maximum(marked + lesion[-1], 1)).max())


def test_no_threshold_or_band_finds_the_lesion(demo: tuple[Path, dict]) -> None:
    every, lesion = np.zeros(4096, int), np.zeros(4096, int)
    for image, label in volumes(demo[0]):
        mine = np.bincount(image.ravel(), minlength=4096), np.bincount(image[label == 2], minlength=4096)
        assert best_band_dice(*mine) < 0.4
        every, lesion = every + mine[0], lesion + mine[1]
    assert best_band_dice(every, lesion) < 0.4


def test_the_search_for_a_threshold_would_find_one_where_there_is_one() -> None:
    label = np.zeros((9, 9, 9), int)
    label[2:5, 2:5, 2:5] = 2
    image = np.where(label == 2, 300, 100)
    assert best_band_dice(np.bincount(image.ravel()), np.bincount(image[label == 2])) == 1.0


def test_the_lesion_lies_in_the_organ_and_differs_from_it(demo: tuple[Path, dict]) -> None:
    for image, label in volumes(demo[0]):
        organ, lesion = image[label == 1], image[label == 2]
        # Contrast of several standard deviations of the noise: a network can see what a threshold cannot.
        assert organ.mean() - lesion.mean() > 150
        assert 10 < organ.std() < 60
        where = np.argwhere(label > 0)
        assert (np.argwhere(label == 2).min(0) >= where.min(0)).all()


def run_ingest(out: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict], dict[str, str]]:
    """(case lines, codes by case) of the ingest stage on a phantom dataset."""
    manifest = json.loads((out / "dataset.json").read_text())
    store, prefix = Store(f"file://{root}/artefacts/"), "runs/demo-0123456789ab-1/"
    lines = []
    for split in ("training", "test"):
        for entry in manifest[split]:
            image = entry["image"] + ("/" if (out / entry["image"]).is_dir() else "")
            line = {
                "caseId": entry["id"],
                "caseHash": hashlib.sha256(entry["id"].encode()).hexdigest(),
                "split": split,
                "images": [{"key": image, "bytes": 1}],
            }
            if "label" in entry:
                line["label"] = {"key": entry["label"], "bytes": 1}
            lines.append(line)
    labels = [{"value": int(v), "name": name} for v, name in manifest["labels"].items()]
    task = {
        "schema": 1,
        "stage": "ingest",
        "taskId": "ingest",
        "runId": "demo-0123456789ab-1",
        "version": "0.1.0",
        "dataset": "demo",
        "datasetUri": f"file://{out}/",
        "artefactsUri": store.root_uri,
        "runPrefix": prefix,
        "inputHash": "0" * 64,
        "casesKey": f"{prefix}tasks/ingest.cases.jsonl",
        "shards": 2,
        "quarantineUri": f"file://{root}/quarantine/demo-0123456789ab-1/",
        "definition": {"name": "Phantoms", "channels": ["CT"], "labels": labels},
        "minSlices": 4,
    }
    store.write_lines(task["casesKey"], lines)
    store.write_json(f"{prefix}tasks/ingest.json", task)
    monkeypatch.delenv("AWS_BATCH_JOB_ARRAY_INDEX", raising=False)
    assert stage.execute("ingest", ingest.run, f"{store.root_uri}{prefix}tasks/ingest.json") == 0
    codes = {e["caseId"]: e["code"] for e in store.read_lines(f"{prefix}ingest/0.quarantine.jsonl")}
    return list(store.read_lines(f"{prefix}ingest/0.cases.jsonl")), codes


def test_ingest_quarantines_exactly_the_planted_cases_with_their_codes(
    demo: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, expected = demo
    good, codes = run_ingest(out, tmp_path, monkeypatch)
    assert codes == expected["quarantine"]
    assert len(good) == expected["training"] + expected["test"]
    # Every form of a series comes back as the Hounsfield units that were drawn, on the label's grid.
    store = Store(f"file://{tmp_path}/artefacts/")
    facts = {case["caseId"]: case for case in expected["cases"]}
    for line in good:
        record = store.read_json(line["recordKey"])
        case = facts[line["caseId"]]
        assert record["shapeZyx"] == case["shapeZyx"]
        assert record["spacingMmZyx"] == pytest.approx(case["spacingMmZyx"], rel=1e-5)
        assert record["source"]["kind"] == ("nifti" if case["form"] == "nifti" else "dicom")
        if record["split"] == "training":
            assert record["labelVoxels"]["2"] == case["lesionVoxels"]
            assert 80 < record["channels"][0]["mean"] < 160
        image = nib.load(store.local(record["images"][0]))
        assert np.asarray(image.dataobj).min() < -990


def test_the_same_arguments_find_the_dataset_again(
    demo: tuple[Path, dict], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (demo[0] / "dataset.json").stat().st_mtime_ns
    generate(demo[0])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"] is True
    assert (demo[0] / "dataset.json").stat().st_mtime_ns == before


def test_progress_counts_the_cases_and_the_summary_comes_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(tmp_path / "x", "--cases", "2", "--size", "18", "--dicom", "0")
    *events, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (events[-1]["type"], events[-1]["done"], events[-1]["total"]) == ("progress", 3, 3)
    assert summary["type"] == "phantoms"
    assert (summary["training"], summary["test"], summary["planted"], summary["skipped"]) == (2, 1, 9, False)
    assert Path(summary["dataset"], "dataset.json").exists()
    assert Path(summary["expected"]).exists()


def test_other_arguments_do_not_write_into_an_existing_dataset(demo: tuple[Path, dict]) -> None:
    with pytest.raises(StageError) as caught:
        generate(demo[0], "--cases", "3")
    assert caught.value.code == "FolderNotEmpty"


@pytest.mark.parametrize(
    "arguments", [("--cases", "0"), ("--size", "4"), ("--dicom", "17"), ("--shape", "9", "9", "9")]
)
def test_arguments_out_of_range_are_refused_by_name(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(StageError) as caught:
        generate(tmp_path / "x", *arguments)
    assert caught.value.field == arguments[0]


def test_shape_and_spacing_hold_for_every_case_and_nothing_is_planted_on_request(tmp_path: Path) -> None:
    expected = generate(
        tmp_path / "x",
        *("--cases", "2", "--shape", "20", "24", "18", "--spacing", "1", "1.5", "2", "--no-bad"),
    )
    assert [case["shapeZyx"] for case in expected["cases"]] == [[18, 24, 20]] * 3
    assert expected["cases"][0]["spacingMmZyx"] == [2, 1.5, 1]
    assert expected["quarantine"] == {}


def test_an_anatomy_is_the_same_on_a_finer_grid() -> None:
    anatomy = Anatomy.draw(np.random.default_rng(4))
    shares = []
    for n in (24, 48):
        lattice = Lattice(shape_xyz=(n, n, n), spacing_xyz=(96 / n,) * 3)
        _, label_zyx = render(anatomy, lattice, np.random.default_rng(0))
        shares.append([(label_zyx == value).mean() for value in (1, 2)])
    assert shares[0] == pytest.approx(shares[1], rel=0.15)
