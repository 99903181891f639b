"""infer: masks in the image's own grid, scores of what is on disk, and nothing done twice."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from trained_dataset import (
    GRIDS,
    RUN,
    TrainedDataset,
    affine_of,
    digest,
    infer_prefix,
    masks_prefix,
    phantom,
    run_stage,
)

from voxelburst import contract
from voxelburst.contract import CaseScores, InferResult
from voxelburst.stages import infer

NAME = "infer-fold0-fp32-onnxruntime"


def run(dataset: TrainedDataset, **fields) -> InferResult:
    assert run_stage("infer", dataset.infer_task("onnxruntime", **fields)) == 0
    return contract.parse(InferResult, dataset.result(NAME), "the result", "result")


def scores_of(dataset: TrainedDataset, case_id: str) -> CaseScores:
    document = dataset.store.read_json(f"{infer_prefix(case_id)}scores.json")
    return contract.parse(CaseScores, document, "scores.json")


@pytest.fixture
def done(dataset: TrainedDataset) -> TrainedDataset:
    run(dataset)
    return dataset


def test_masks_lie_in_the_images_own_grid(done: TrainedDataset) -> None:
    """Oblique affines, anisotropic spacing, a cropped border, a transposed plan."""
    for case_id in done.validation:
        mask = nib.load(done.store.local(f"{masks_prefix('onnxruntime')}{case_id}.nii.gz"))
        image = nib.load(done.store.local(f"ingest/{digest(case_id)}/image-0.nii.gz"))
        assert mask.shape == image.shape
        assert mask.get_data_dtype() == np.uint8
        assert np.array_equal(mask.affine, image.affine)
        assert set(np.unique(mask.dataobj)) <= {0, 1, 2}
        assert mask.header.get_xyzt_units()[0] == "mm"
    oblique = nib.load(done.store.local(f"{masks_prefix('onnxruntime')}case-b.nii.gz"))
    assert abs(oblique.affine[1, 2]) > 0.1
    assert GRIDS["case-b"][1] == pytest.approx(tuple(reversed(oblique.header.get_zooms())))


def test_the_dice_in_the_scores_is_that_of_the_masks_on_disk(done: TrainedDataset, tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "independent_dice.py"
    spec = importlib.util.spec_from_file_location("independent_dice", path)
    independent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(independent)
    labels = tmp_path / "labels"
    labels.mkdir()
    for case_id in done.validation:
        source = done.store.local(f"ingest/{digest(case_id)}/label.nii.gz")
        (labels / f"{case_id}.nii.gz").write_bytes(source.read_bytes())
    found = independent.dice(done.store.local(masks_prefix("onnxruntime")), labels)
    scores = [scores_of(done, case_id) for case_id in done.validation]
    assert found["cases"] == len(scores)
    for at in range(2):
        mean = np.mean([score.classes[at].dice for score in scores])
        assert mean == pytest.approx(found["classes"][str(at + 1)])
    assert found["mean"] > 0.6, "the masks do not fit the labels"


def test_every_case_has_a_mask_a_picture_and_last_of_all_its_scores(done: TrainedDataset) -> None:
    for case_id in done.validation:
        prefix = infer_prefix(case_id)
        assert done.store.names(prefix) == ["mask.nii.gz", "preview.png", "scores.json"]
        score = scores_of(done, case_id)
        assert (score.case_id, score.part) == (case_id, "validation")
        assert score.mask_key == f"{prefix}mask.nii.gz" and score.preview_key == f"{prefix}preview.png"
        assert [s.class_name for s in score.classes] == ["bright", "dark"]
        assert score.mean_dice == pytest.approx(np.mean([s.dice for s in score.classes]))
        assert score.seconds > 0 and score.windows >= 1
        times = {n: (done.store.local(prefix) / n).stat().st_mtime_ns for n in done.store.names(prefix)}
        assert times["scores.json"] == max(times.values())
        assert done.store.read(score.mask_key) == done.store.read(
            f"{masks_prefix('onnxruntime')}{case_id}.nii.gz"
        )


def test_the_result_says_what_was_timed(dataset: TrainedDataset) -> None:
    result = run(dataset)
    assert (result.cases, result.done, result.skipped) == (3, 3, 0)
    assert result.windows == sum(scores_of(dataset, c).windows for c in dataset.validation)
    assert 0 < result.model_seconds < result.file_to_mask_seconds < result.seconds
    assert result.volumes_per_second == pytest.approx(3 / result.file_to_mask_seconds, rel=0.01)
    assert result.windows_per_second == pytest.approx(result.windows / result.model_seconds, rel=0.01)
    assert 0 < result.window_latency.p50_ms <= result.window_latency.p95_ms
    assert (result.engine, result.precision) == ("onnxruntime", "fp32")
    assert result.batch >= 1
    assert result.host.versions["onnxruntime"]


def test_the_scores_of_a_child_are_its_lines_in_one_object(done: TrainedDataset) -> None:
    result = done.result(NAME)
    assert result["scoresKey"] == f"runs/{RUN}/infer/{NAME}.scores.jsonl"
    lines = list(done.store.read_lines(result["scoresKey"]))
    assert lines == [contract.to_json(scores_of(done, case_id)) for case_id in done.validation]


def test_children_of_an_array_share_the_cases(dataset: TrainedDataset, no_array_index) -> None:
    task = dataset.infer_task("onnxruntime")
    lines = []
    for index in (0, 1):
        no_array_index(index)
        assert run_stage("infer", task) == 0
        result = dataset.result(f"{NAME}.{index}")
        assert result["index"] == index
        # lib/contracts/keys.ts scores()
        assert result["scoresKey"] == f"runs/{RUN}/infer/{NAME}.{index}.scores.jsonl"
        lines.append([line["caseId"] for line in dataset.store.read_lines(result["scoresKey"])])
    assert lines == [["case-b", "case-d"], ["case-c"]]


def test_a_child_without_cases_ends_well(dataset: TrainedDataset, no_array_index) -> None:
    task = dataset.infer_task("onnxruntime", shards=10)
    no_array_index(9)
    assert run_stage("infer", task) == 0
    result = dataset.result(f"{NAME}.9")
    assert (result["cases"], result["windows"], result["volumesPerSecond"]) == (0, 0, 0)
    assert list(dataset.store.read_lines(result["scoresKey"])) == []
    assert result["precision"] == "fp32"


def test_a_finished_case_is_only_copied(done: TrainedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run of the same content: its own masks folder, nothing inferred again."""

    def no_engine(*_: object) -> None:
        raise AssertionError("an engine was loaded")

    monkeypatch.setattr(infer.engines, "load", no_engine)
    before = done.store.read(f"{infer_prefix('case-b')}scores.json")
    other = "runs/demo-0123456789ab-2/masks/fold0-fp32-onnxruntime/"
    result = run(done, masksPrefix=other)
    assert (result.done, result.skipped, result.windows) == (0, 3, 0)
    assert done.store.names(other) == [f"{case_id}.nii.gz" for case_id in done.validation]
    assert done.store.read(f"{infer_prefix('case-b')}scores.json") == before
    assert len(list(done.store.read_lines(result.scores_key))) == 3


def test_only_the_missing_case_is_redone_and_gives_the_same_mask(done: TrainedDataset) -> None:
    mask = done.store.read(f"{infer_prefix('case-d')}mask.nii.gz")
    (done.root / "artefacts" / infer_prefix("case-d") / "scores.json").unlink()
    result = run(done)
    assert (result.done, result.skipped) == (1, 2)
    assert result.windows == scores_of(done, "case-d").windows
    assert done.store.read(f"{infer_prefix('case-d')}mask.nii.gz") == mask


def test_a_test_case_is_predicted_without_scores(dataset: TrainedDataset) -> None:
    image, _ = phantom((16, 20, 22), (1.0, 1.0, 1.0), 9)
    dataset.add_case("new-1", image, affine_of((1.0, 1.0, 1.0), 3), None)
    result = run(dataset, test_cases=("new-1",))
    assert result.done == 4
    score = scores_of(dataset, "new-1")
    assert (score.part, score.classes, score.mean_dice) == ("test", [], None)
    assert nib.load(dataset.store.local(score.mask_key)).shape == image.shape[::-1]
    assert dataset.store.exists(score.preview_key)


def test_an_empty_reference_follows_the_convention(dataset: TrainedDataset) -> None:
    image, label = phantom((16, 20, 22), (1.0, 1.0, 1.0), 9)
    dataset.add_case("case-c", image, affine_of((1.0, 1.0, 1.0), 0), np.zeros_like(label))
    run(dataset)
    for found in scores_of(dataset, "case-c").classes:
        assert found.reference_voxels == 0
        expected = (0.0, 0.0) if found.predicted_voxels else (None, None)
        assert (found.dice, found.nsd) == expected


def test_mirroring_and_overlap_are_the_plans(dataset: TrainedDataset) -> None:
    plain = run(dataset)
    for case_id in dataset.validation:
        (dataset.root / "artefacts" / infer_prefix(case_id) / "scores.json").unlink()
    dataset.plan["infer"] = {"overlap": 0.75, "mirroring": True, "nsdToleranceMm": 1}
    dataset.store.write_json(f"runs/{RUN}/plan.json", dataset.plan)
    mirrored = run(dataset)
    assert mirrored.windows > plain.windows
    # Eight passes a window.
    assert mirrored.window_latency.p50_ms > 2 * plain.window_latency.p50_ms


def test_progress_ends_at_all_cases(dataset: TrainedDataset, capsys: pytest.CaptureFixture[str]) -> None:
    run(dataset)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["unit"] for event in events} == {"cases"}
    assert [event["done"] for event in events] == sorted(event["done"] for event in events)
    assert events[-1]["done"] == events[-1]["total"] == 3


def test_a_case_whose_volume_is_damaged_fails_the_child_by_its_name(dataset: TrainedDataset) -> None:
    path = dataset.root / "artefacts" / f"ingest/{digest('case-c')}/image-0.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    assert run_stage("infer", dataset.infer_task("onnxruntime")) == 1
    error = dataset.error(NAME)
    assert error["caseId"] == "case-c"
    assert error["code"] not in ("StageFailed", "OutOfMemory")


def test_a_damaged_engine_is_not_run(dataset: TrainedDataset) -> None:
    path = dataset.store.local(f"compile/{digest('onnxruntime')}/model.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run_stage("infer", dataset.infer_task("onnxruntime")) == 1
    assert dataset.error(NAME)["code"] == "ModelFileDamaged"


def test_the_picture_is_a_legible_png_with_both_outlines(done: TrainedDataset) -> None:
    body = done.store.read(f"{infer_prefix('case-d')}preview.png")
    picture = Image.open(io.BytesIO(body))
    assert picture.format == "PNG" and max(picture.size) == 480
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)} <= colours
    assert len(body) < 200_000
