"""compile: a whole model folder, or a refusal that leaves none."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
import torch
from trained_dataset import TRAIN_PREFIX, TrainedDataset, engine_prefix, run_stage

from voxelburst import contract, engines, model_folder
from voxelburst.contract import CompileResult, EngineFile, ModelFolder
from voxelburst.engines import onnx_runtime
from voxelburst.errors import StageError

NAME = "compile-fold0-fp32-onnxruntime"
FILES = ["LICENSE", "MODEL_CARD.md", "model.onnx", "plan.json", "weights.pt"]


def test_writes_a_whole_model_folder(compiled: TrainedDataset) -> None:
    prefix = engine_prefix("onnxruntime")
    assert compiled.store.names(prefix) == sorted([*FILES, "model.json", "result.json"])
    folder = compiled.store.local(prefix)
    model = model_folder.read(folder)
    assert sorted(model.files) == FILES
    assert [(e.engine, e.precision, e.file) for e in model.engines] == [
        ("onnxruntime", "fp32", "model.onnx"),
        ("torch", "fp32", None),
    ]
    assert contract.to_json(model.network) == compiled.plan["network"]
    assert (model.channels, [label.name for label in model.labels]) == (
        ["MRI"],
        ["background", "bright", "dark"],
    )
    assert list(model.transpose) == compiled.plan["transpose"]
    assert compiled.store.read(f"{prefix}weights.pt") == compiled.store.read(f"{TRAIN_PREFIX}weights.pt")


def test_says_what_was_built_on_what_and_how_it_compares(compiled: TrainedDataset) -> None:
    result = contract.parse(CompileResult, compiled.result(NAME), "the result", "result")
    assert result.engine_prefix == engine_prefix("onnxruntime")
    assert result.precision == "fp32" and result.build_seconds > 0
    parity = result.parity
    assert parity.passed and parity.cases == 3
    assert parity.mean_dice_engine == pytest.approx(parity.mean_dice_fp32, abs=1e-6)
    assert parity.mean_dice_fp32 > 0.6, "the model of these tests has learnt nothing"
    assert 0 <= parity.largest_logit_difference < 1e-3
    assert parity.argmax_agreement > 0.999
    assert "0.002" in parity.rule and "0.02" in parity.rule
    assert {"torch", "onnxruntime", "python"} <= set(result.host.versions)
    assert result.host.device and result.host.cpus >= 1


def test_the_model_card_names_data_fold_scores_versions_and_use(compiled: TrainedDataset) -> None:
    card = compiled.store.read(f"{engine_prefix('onnxruntime')}MODEL_CARD.md").decode()
    for said in (
        "| Dataset | Demo |",
        "CC0-1.0",
        "fold0: trained on 1 case, 3 cases held out",
        "no medical device",
        "onnxruntime in fp32",
        f"torch {torch.__version__.split('+')[0]}",
        "0 background, 1 bright, 2 dark",
        "Mean Dice of the parity check, FP32",
        "demo-0123456789ab-1",
    ):
        assert said in card
    assert "CC0-1.0" in compiled.store.read(f"{engine_prefix('onnxruntime')}LICENSE").decode()


def test_a_corrupted_engine_is_refused_and_leaves_no_folder(
    dataset: TrainedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real gate on a real engine: the last layer of the exported graph has one class turned around."""
    import onnx

    def corrupted(model, site, precision, calibration):
        path = site.folder / "model.onnx"
        document = onnx.load(path)
        last = next(t for t in document.graph.initializer if t.dims and t.dims[0] == 3)
        values = onnx.numpy_helper.to_array(last).copy()
        values[2] *= -1
        last.CopyFrom(onnx.numpy_helper.from_array(values, last.name))
        onnx.save(document, path)
        return honest(model, site, precision, calibration)

    honest = onnx_runtime.make
    monkeypatch.setattr(onnx_runtime, "make", corrupted)
    shutil.rmtree(dataset.root / "artefacts" / engine_prefix("onnxruntime"))
    assert run_stage("compile", dataset.compile_task("onnxruntime")) == 1
    error = dataset.error(NAME)
    assert error["code"] == "ParityFailed"
    assert error["stage"] == "compile" and error["taskId"] == NAME
    assert "mean Dice" in error["message"] and error["remedy"]
    assert dataset.store.names(engine_prefix("onnxruntime")) == []


def test_a_precision_that_fails_the_gate_gives_way_to_the_next_and_is_named(
    dataset: TrainedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real gate; that ONNX Runtime has a second precision on a processor is made up."""
    import onnx

    def coarse_in_int8(model, site, precision, calibration):
        assert len(list(calibration())) >= 2
        path = site.folder / "model.onnx"
        whole = path.read_bytes()
        if precision == "int8":
            document = onnx.load(path)
            last = next(t for t in document.graph.initializer if t.dims and t.dims[0] == 3)
            values = onnx.numpy_helper.to_array(last).copy()
            last.CopyFrom(onnx.numpy_helper.from_array(-values, last.name))
            onnx.save(document, path)
            tried.append(whole)
        elif tried:
            path.write_bytes(tried[0])
        return EngineFile(engine="onnxruntime", precision=precision, file="model.onnx")

    tried: list[bytes] = []
    monkeypatch.setattr(onnx_runtime, "make", coarse_in_int8)
    for name in ("precisions", "all_precisions"):
        monkeypatch.setattr(onnx_runtime, name, lambda _: ("int8", "fp32"))
    shutil.rmtree(dataset.root / "artefacts" / engine_prefix("onnxruntime"))
    assert run_stage("compile", dataset.compile_task("onnxruntime", with_training=True)) == 0
    result = dataset.result(NAME)
    assert result["precision"] == "fp32" and result["parity"]["passed"]
    (said,) = [line for line in result["host"]["fallbacks"] if "int8" in line]
    assert "was refused" in said and "mean Dice" in said


def test_weights_that_differ_a_little_change_the_largest_difference(dataset: TrainedDataset) -> None:
    """The figures come from this engine: they are not those of the reference with itself."""
    found = dataset.result(NAME)["parity"]["largestLogitDifference"]
    assert found > 0


def test_an_engine_that_is_not_here_is_refused_before_any_work(dataset: TrainedDataset) -> None:
    if engines.missing("tensorrt") is None:
        pytest.skip("TensorRT is here")
    assert run_stage("compile", dataset.compile_task("tensorrt")) == 1
    assert dataset.error("compile-fold0-fp32-tensorrt")["code"] == "EngineUnavailable"
    assert dataset.store.names(engine_prefix("tensorrt")) == []


def test_torch_needs_no_file_of_its_own_but_the_folder_has_onnx_all_the_same(dataset: TrainedDataset) -> None:
    assert run_stage("compile", dataset.compile_task("torch")) == 0
    model = model_folder.read(dataset.store.local(engine_prefix("torch")))
    assert [(e.engine, e.file) for e in model.engines] == [("torch", None)]
    assert "model.onnx" in model.files
    parity = dataset.result("compile-fold0-fp32-torch")["parity"]
    assert parity["largestLogitDifference"] == 0 and parity["argmaxAgreement"] == 1


def test_weights_of_another_network_are_refused(dataset: TrainedDataset) -> None:
    body = io.BytesIO()
    torch.save({"other": torch.zeros(3)}, body)
    dataset.store.write(f"{TRAIN_PREFIX}weights.pt", body.getvalue())
    assert run_stage("compile", dataset.compile_task("onnxruntime")) == 1
    assert dataset.error(NAME)["code"] == "WeightsUnreadable"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: (folder / "weights.pt").write_bytes(b"other"), "ModelFileDamaged"),
        (lambda folder: (folder / "model.onnx").unlink(), "ModelFileMissing"),
        (lambda folder: (folder / "model.json").unlink(), "ModelFolderMissing"),
        (lambda folder: (folder / "model.json").write_text("{"), "DocumentInvalid"),
        (lambda folder: (folder / "model.json").write_text("{}"), "DocumentInvalid"),
    ],
)
def test_a_damaged_model_folder_is_refused_with_the_file_at_fault(
    compiled: TrainedDataset, tmp_path, damage, code: str
) -> None:
    folder = shutil.copytree(compiled.store.local(engine_prefix("onnxruntime")), tmp_path / "model")
    damage(folder)
    with pytest.raises(StageError) as refused:
        model_folder.read(folder)
    assert refused.value.code == code


def test_an_engine_file_without_a_checksum_is_refused(compiled: TrainedDataset, tmp_path) -> None:
    folder = shutil.copytree(compiled.store.local(engine_prefix("onnxruntime")), tmp_path / "model")
    document = contract.to_json(model_folder.read(folder))
    del document["files"]["model.onnx"]
    import json

    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(StageError) as refused:
        model_folder.read(folder)
    assert refused.value.code == "ModelFileUnlisted"


def test_the_contract_takes_the_folder_as_it_is_written(compiled: TrainedDataset) -> None:
    document = compiled.store.read_json(f"{engine_prefix('onnxruntime')}model.json")
    assert contract.to_json(contract.parse(ModelFolder, document, "model.json")) == document
    assert np.isclose(document["infer"]["nsdToleranceMm"], 1)


def test_a_folder_in_a_store_that_is_no_disk_is_fetched_whole(
    compiled: TrainedDataset, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxelburst.storage import Store

    monkeypatch.setenv("VOXELBURST_SCRATCH", str(tmp_path / "scratch"))
    prefix = engine_prefix("onnxruntime")
    store = Store("memory://bucket/artefacts/")
    for name in compiled.store.names(prefix):
        store.write(f"{prefix}{name}", compiled.store.read(f"{prefix}{name}"))
    into = tmp_path / "model"
    into.mkdir()
    folder = model_folder.fetch(store, prefix, into)
    assert model_folder.read(folder) == model_folder.read(compiled.store.local(prefix))
