"""predict needs a model folder and nothing else, and one bad image does not spoil the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from trained_dataset import TrainedDataset, affine_of, digest, engine_prefix, masks_prefix, phantom, run_stage

from voxelburst import predict
from voxelburst.errors import StageError

PACKAGE = Path(__file__).parents[2] / "src"
DICOM = Path(__file__).parents[4] / "shared" / "data" / "dicom" / "generic" / "compressed_rle" / "001"


@pytest.fixture
def model(compiled: TrainedDataset, tmp_path: Path) -> Path:
    """The folder alone, somewhere else."""
    folder = tmp_path / "elsewhere" / "model"
    shutil.copytree(compiled.store.local(engine_prefix("onnxruntime")), folder)
    (folder / "result.json").unlink()
    return folder


@pytest.fixture
def images(compiled: TrainedDataset, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for case_id in compiled.validation:
        source = compiled.store.local(f"ingest/{digest(case_id)}/image-0.nii.gz")
        shutil.copyfile(source, folder / f"{case_id}.nii.gz")
    return folder


def run(*arguments: str | Path) -> int:
    return predict.main([str(argument) for argument in arguments])


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_copied_folder_predicts_in_a_process_of_its_own_what_infer_did(
    dataset: TrainedDataset, model: Path, images: Path, tmp_path: Path
) -> None:
    assert run_stage("infer", dataset.infer_task("onnxruntime")) == 0
    expected = {
        case_id: dataset.store.read(f"{masks_prefix('onnxruntime')}{case_id}.nii.gz")
        for case_id in dataset.validation
    }
    # Nothing of the run is left but the model folder.
    shutil.rmtree(dataset.root)
    out = tmp_path / "masks"
    arguments = ["--model", model, "--images", images, "--out", out]
    ended = subprocess.run(
        [sys.executable, "-m", "voxelburst", "predict", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PACKAGE), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(p.name for p in out.iterdir()) == [f"{case_id}.nii.gz" for case_id in expected]
    for case_id, mask in expected.items():
        assert (out / f"{case_id}.nii.gz").read_bytes() == mask
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert (summary["predicted"], summary["refused"], summary["engine"]) == (3, 0, "onnxruntime")
    assert summary["volumesPerSecond"] > 0


def test_a_bad_image_is_refused_by_code_and_the_others_go_on(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.nii.gz").write_bytes(b"no gzip")
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.int16), affine_of((1, 1, 1), 0)), images / "constant.nii")
    with pytest.raises(StageError) as refused:
        run("--model", model, "--images", images, "--out", tmp_path / "out")
    assert refused.value.code == "ImagesRefused"
    lines = printed(capsys)
    errors = {line["image"]: line["error"] for line in lines if line.get("type") == "refusal"}
    assert {image: error["code"] for image, error in errors.items()} == {
        "broken": "NotNifti",
        "constant": "ConstantImage",
    }
    for error in errors.values():
        assert error["message"] and error["remedy"] and error["got"] and error["allowed"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "case-b.nii.gz",
        "case-c.nii.gz",
        "case-d.nii.gz",
    ]
    events = [line for line in lines if line.get("type") == "progress"]
    assert events[-1]["done"] == events[-1]["total"] == 5
    assert (lines[-1]["images"], lines[-1]["predicted"], lines[-1]["refused"]) == (5, 3, 2)
    predictions = {line["image"]: line["voxels"] for line in lines if line.get("type") == "prediction"}
    assert predictions["case-d"]["bright"] > 100


def test_two_models_predict_by_the_mean_of_their_logits(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second model with the first one's classes exchanged: together they cannot tell one from the other."""
    import torch

    from voxelburst.model_folder import sha256_of

    other = tmp_path / "elsewhere" / "other"
    shutil.copytree(model, other)
    weights = torch.load(other / "weights.pt", weights_only=True)
    heads = [name for name in weights if name.startswith("output_block")]
    for name in heads:
        weights[name] = weights[name][[0, 2, 1]]
    torch.save(weights, other / "weights.pt")
    document = json.loads((other / "model.json").read_text())
    document["files"]["weights.pt"] = sha256_of(other / "weights.pt")
    (other / "model.json").write_text(json.dumps(document))

    def voxels(*folders: Path) -> dict:
        out = tmp_path / "-".join(folder.name for folder in folders)
        assert run("--model", *folders, "--images", images, "--out", out, "--engine", "torch") == 0
        *lines, summary = printed(capsys)
        assert summary["models"] == len(folders)
        return {line["image"]: line["voxels"] for line in lines if line["type"] == "prediction"}

    alone, exchanged, both = voxels(model), voxels(other), voxels(model, other)
    assert heads and both.keys() == alone.keys()
    for image, found in both.items():
        assert exchanged[image] == {"bright": alone[image]["dark"], "dark": alone[image]["bright"]}
        # Of equal logits the first class is taken; summed in another order, a voxel may differ.
        assert found["bright"] > 100 and found["dark"] < 0.05 * alone[image]["dark"]


def test_masks_keep_the_grid_of_an_image_that_no_ingest_has_seen(model: Path, tmp_path: Path) -> None:
    image, _ = phantom((18, 24, 20), (1.3, 0.9, 0.8), 5)
    where = affine_of((1.3, 0.9, 0.8), 20)
    path = tmp_path / "in" / "a scan.nii"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(image.T, where), path)
    assert run("--model", model, "--images", path, "--out", tmp_path / "out", "--engine", "torch") == 0
    mask = nib.load(tmp_path / "out" / "a scan.nii.gz")
    assert mask.shape == image.shape[::-1]
    assert np.allclose(mask.affine, where, atol=1e-5)
    assert mask.get_data_dtype() == np.uint8


@pytest.mark.skipif(not DICOM.exists(), reason="../shared/data is not here")
def test_a_folder_of_dicom_is_an_image(model: Path, tmp_path: Path) -> None:
    assert run("--model", model, "--images", DICOM, "--out", tmp_path / "out") == 0
    (mask,) = (tmp_path / "out").iterdir()
    assert mask.name == "001.nii.gz"
    truth = DICOM.parent / "001_ground_truth.nii.gz"
    if truth.exists():
        assert np.prod(nib.load(mask).shape) == np.prod(nib.load(truth).shape)


def test_a_damaged_weight_file_is_not_loaded(model: Path, images: Path, tmp_path: Path) -> None:
    body = bytearray((model / "weights.pt").read_bytes())
    body[-1] ^= 1
    (model / "weights.pt").write_bytes(body)
    with pytest.raises(StageError) as refused:
        run("--model", model, "--images", images, "--out", tmp_path / "out")
    assert refused.value.code == "ModelFileDamaged"
    assert not (tmp_path / "out").exists()


def test_a_pickle_in_place_of_weights_runs_no_code(model: Path, images: Path, tmp_path: Path) -> None:
    """Its checksum is right: whoever made the folder made both."""
    import pickle

    from voxelburst.model_folder import sha256_of

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (model / "weights.pt").write_bytes(pickle.dumps(Trap()))
    document = json.loads((model / "model.json").read_text())
    document["files"]["weights.pt"] = sha256_of(model / "weights.pt")
    (model / "model.json").write_text(json.dumps(document))
    with pytest.raises(StageError) as refused:
        run("--model", model, "--images", images, "--out", tmp_path / "out", "--engine", "torch")
    assert refused.value.code == "WeightsUnreadable"
    assert not (tmp_path / "sprung").exists()


def test_masks_are_not_written_over_their_images(model: Path, images: Path) -> None:
    before = (images / "case-b.nii.gz").read_bytes()
    with pytest.raises(StageError) as refused:
        run("--model", model, "--images", images, "--out", images)
    assert refused.value.code == "OutputIsInput"
    assert (images / "case-b.nii.gz").read_bytes() == before


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(paths: list[Path], channels: int = 1) -> list[tuple[str, list[str]]]:
    return [(r.name, [p.name for p in r.paths]) for r in predict.find_images(paths, channels)]


def test_finds_niftis_and_dicom_folders_and_leaves_litter(tmp_path: Path) -> None:
    files(tmp_path, "b.nii.gz", "a.nii", "._a.nii", ".DS_Store", "_old.nii.gz", "dcm/1.dcm", "readme.txt")
    (tmp_path / "empty").mkdir()
    assert found([tmp_path]) == [("a", ["a.nii"]), ("b", ["b.nii.gz"]), ("dcm", ["dcm"])]
    assert found([tmp_path / "dcm"]) == [("dcm", ["dcm"])]
    assert found([tmp_path / "a.nii", tmp_path / "dcm"]) == [("a", ["a.nii"]), ("dcm", ["dcm"])]


def test_a_link_is_called_what_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("a", "b"):
        files(tmp_path, f"store/{case}/image_0000.nii.gz")
        (tmp_path / "links").mkdir(exist_ok=True)
        (tmp_path / "links" / f"{case}.nii.gz").symlink_to(tmp_path / "store" / case / "image_0000.nii.gz")
    assert [name for name, _ in found([tmp_path / "links"])] == ["a", "b"]
    monkeypatch.chdir(files(tmp_path / "dicom", "1.dcm"))
    assert [name for name, _ in found([Path()])] == ["dicom"]


def test_pairs_channels_by_their_number(tmp_path: Path) -> None:
    files(tmp_path, "a_0001.nii.gz", "a_0000.nii.gz", "b.nii.gz")
    assert found([tmp_path], 2) == [("a", ["a_0000.nii.gz", "a_0001.nii.gz"]), ("b", ["b.nii.gz"])]
    # With one channel the number is part of the name.
    assert [name for name, _ in found([tmp_path], 1)] == ["a_0000", "a_0001", "b"]


@pytest.mark.parametrize(
    ("names", "channels", "code"),
    [
        (["a_0000.nii.gz", "a_0002.nii.gz"], 3, "ChannelsIncomplete"),
        (["a.nii", "a.nii.gz"], 1, "ImageNamesClash"),
        (["notes.dir/"], 1, "NoImages"),
    ],
)
def test_what_cannot_be_paired_is_refused(tmp_path: Path, names, channels, code) -> None:
    for name in names:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(StageError) as refused:
        predict.find_images([tmp_path], channels)
    assert refused.value.code == code


def test_an_absent_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError) as refused:
        predict.find_images([tmp_path / "nowhere"], 1)
    assert refused.value.code == "ImagesMissing"
