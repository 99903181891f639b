"""Whole commands of ours on a run's cases, as they stand beside a peer's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_dataset import SmallDataset

from voxelburst.bench import peers
from voxelburst.bench.command import main
from voxelburst.bench.whole_commands import RunCases, predict_rows, predict_speeds, preprocess_row
from voxelburst.errors import StageError


@pytest.fixture
def dataset(tmp_path: Path) -> SmallDataset:
    return SmallDataset(tmp_path)


@pytest.fixture
def task_file(dataset: SmallDataset) -> Path:
    return Path(dataset.preprocess_task().removeprefix("file://"))


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_preprocess_starts_processes_on_all_cases_and_leaves_the_run_as_it_was(
    dataset: SmallDataset, task_file: Path, tmp_path: Path
) -> None:
    before = files_below(tmp_path / "artefacts")
    row = preprocess_row(RunCases.of(task_file), tmp_path / "bench")
    assert (row["kind"], row["does"]) == ("command", "preprocess, whole command")
    # Python alone takes a tenth of a second to start.
    assert 0 < row["volumesPerSecond"] < len(dataset.ids) / 0.1
    assert len(files_below(tmp_path / "bench" / "preprocess")) == 4 * len(dataset.ids)
    assert files_below(tmp_path / "artefacts") == before


def test_predict_runs_from_files_to_masks_with_and_without_mirroring(task_file: Path, tmp_path: Path) -> None:
    rows = predict_rows(RunCases.of(task_file), tmp_path / "bench", "torch")
    whole = [row["does"] for row in rows if "whole command" in row["does"]]
    assert whole == [
        "predict, file to mask, whole command, no mirroring",
        "predict, file to mask, whole command, mirroring",
    ]
    assert all(row["buildSeconds"] > 0 and row["engine"] == "torch" for row in rows)
    assert sorted(path.name for path in (tmp_path / "bench" / "masks-4-True").iterdir()) == [
        f"case-3-{copy}.nii.gz" for copy in range(4)
    ]


def test_the_steady_state_leaves_the_starts_out() -> None:
    # 10 s of start, 0.5 s a case.
    whole, steady = predict_speeds(52, {1: 36.0, 4: 114.0}, mirroring=True)
    assert whole["volumesPerSecond"] == pytest.approx(52 / 36, abs=1e-3)
    assert steady["volumesPerSecond"] == pytest.approx(2)
    # A difference lost in noise is no speed.
    assert len(predict_speeds(52, {1: 36.0, 4: 35.0}, mirroring=True)) == 1


def test_artefacts_in_a_bucket_are_refused(task_file: Path) -> None:
    document = json.loads(task_file.read_text()) | {"artefactsUri": "s3://bucket/"}
    task_file.write_text(json.dumps(document))
    with pytest.raises(StageError, match="not on this machine"):
        RunCases.of(task_file)


def test_a_peer_gets_the_runs_own_files_and_the_validation_cases(
    dataset: SmallDataset,
    task_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from voxelburst.bench import command
    from voxelburst.stage import execute
    from voxelburst.stages import preprocess

    assert execute("preprocess", preprocess.run, task_file.as_uri()) == 0
    asked: dict = {}
    monkeypatch.setattr(command, "peer_rows", lambda home, name, request, say: asked.update(request) or [])
    arguments = ["--strategies", "", "--preprocess-task", str(task_file), "--compare", "nnunet"]
    assert main([*arguments, "--peers-do", "train", "--peers-home", str(tmp_path / "peers")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == []
    assert asked["predict"] == ["case-3"]
    assert sorted(asked["cases"]) == dataset.ids
    assert all(Path(f).exists() for case in asked["cases"].values() for f in (*case["images"], case["label"]))
    assert (asked["patch"], asked["classes"], asked["does"]) == ((16, 16, 16), 3, ["train"])


def test_a_peer_does_not_see_this_process_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert "PYTHONPATH" not in peers._its_own()
