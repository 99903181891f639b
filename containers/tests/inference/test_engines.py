"""Engines agree with PyTorch in FP32, and one that cannot run here says so instead of being replaced."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from trained_dataset import PATCH, TrainedDataset, engine_prefix

from voxelburst import engines, model_folder
from voxelburst.contract import EngineFile, Network
from voxelburst.engines import Engine, Site, inductor, onnx_export, pytorch, tensorrt_engine
from voxelburst.errors import StageError
from voxelburst.models import build, save_weights

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(scope="module")
def folder(compiled: TrainedDataset) -> Path:
    return compiled.root / "artefacts" / engine_prefix("onnxruntime")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Engine:
    return pytorch.load(site_of(folder), EngineFile(engine="torch", precision="fp32"))


def site_of(folder: Path) -> Site:
    return Site.of(folder, model_folder.read(folder))


def called(engine: Engine, batch: torch.Tensor) -> torch.Tensor:
    """Logits on the CPU, wherever the engine runs."""
    return engine(batch.to(engine.device)).cpu()


def windows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, *PATCH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_gives_the_reference_logits_for_any_number_of_windows(
    name: str, folder: Path, reference: Engine
) -> None:
    engine = engines.load(site_of(folder), model_folder.read(folder), name)
    for count in (1, 3):
        batch = windows(count, count)
        expected = called(reference, batch)
        found = called(engine, batch)
        assert found.dtype == torch.float32
        assert found.shape == (count, 3, *PATCH)
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    first = engine(windows(1, 1).to(engine.device))
    kept = first.clone()
    called(engine, windows(1, 2))
    assert torch.equal(first, kept), "the next call wrote over the last one's logits"


def test_the_folders_own_engine_is_the_default(folder: Path) -> None:
    engine = engines.load(site_of(folder), model_folder.read(folder))
    assert (engine.name, engine.precision) == ("onnxruntime", "fp32")
    assert engine.host().versions["onnxruntime"] == onnxruntime.__version__


def test_the_onnx_file_is_whole_readable_by_both_and_names_no_file_of_this_machine(folder: Path) -> None:
    path = folder / "model.onnx"
    document = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(document)
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in document.graph.initializer)
    # TensorRT 10.6 reads opsets 9 to 20.
    assert [(o.domain, o.version) for o in document.opset_import] == [("", 18)]
    (image,), (logits,) = document.graph.input, document.graph.output
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert isinstance(shape[0], str) and shape[1:] == [1, *PATCH]
    assert (image.name, logits.name) == ("image", "logits")
    kinds = {node.op_type for node in document.graph.node}
    assert "InstanceNormalization" in kinds
    assert kinds <= {"Conv", "ConvTranspose", "InstanceNormalization", "LeakyRelu", "Concat"}
    assert not re.search(rb"voxelburst/|site-packages|/home|\.py", path.read_bytes())


def test_a_half_precision_graph_takes_and_gives_float32(
    folder: Path, reference: Engine, tmp_path: Path
) -> None:
    site = site_of(folder)
    model = pytorch.network_of(site)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    onnx_export.export(model, site, "fp16", tmp_path / "half.onnx")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    document = onnx.load(tmp_path / "half.onnx")
    weights = [t for t in document.graph.initializer if len(t.dims) == 5]
    assert weights and all(t.data_type == onnx.TensorProto.FLOAT16 for t in weights)
    session = onnxruntime.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
    batch = windows(2)
    (found,) = session.run(None, {"image": batch.numpy()})
    assert found.dtype == np.float32
    expected = called(reference, batch).numpy()
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_anisotropic_kernels_and_several_channels_are_exported(tmp_path: Path) -> None:
    network = Network(
        model="unet3d",
        input_channels=2,
        output_classes=4,
        features=[4, 6, 8],
        strides=[(1, 1, 1), (1, 2, 2), (2, 2, 2)],
        kernels=[(1, 3, 3), (3, 3, 3), (3, 3, 3)],
        deep_supervision_weights=[2 / 3, 1 / 3],
    )
    site = Site(folder=tmp_path, network=network, patch=(6, 16, 12))
    torch.manual_seed(1)
    model = build(network).eval()
    save_weights(model, tmp_path / "weights.pt")
    onnx_export.export(model, site, "fp32", tmp_path / "model.onnx")
    batch = torch.randn(3, 2, 6, 16, 12)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": batch.numpy()})
    entry = EngineFile(engine="torch", precision="fp32")
    assert found == pytest.approx(called(pytorch.load(site, entry), batch).numpy(), abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(inductor.missing(CPU) is not None, reason="torch.compile has no C++ compiler here")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU's is tested below")
def test_inductor_compiles_for_the_cpu(folder: Path, reference: Engine) -> None:
    engine = inductor.load(site_of(folder), EngineFile(engine="inductor", precision="fp32"))
    batch = windows(1)
    assert called(engine, batch).numpy() == pytest.approx(called(reference, batch).numpy(), abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("name", ["inductor", "onnxruntime", "tensorrt"])
def test_half_precision_engines_agree_with_fp32_on_the_gpu(name: str, folder: Path, tmp_path: Path) -> None:
    if engines.missing(name) is not None:
        pytest.skip(str(engines.missing(name)))
    import shutil

    site = Site.of(shutil.copytree(folder, tmp_path / "model"), model_folder.read(folder))
    entry = engines.make(name, pytorch.network_of(site), site, "fp16")
    engine = engines._module(name).load(site, entry)
    reference = pytorch.load(site, EngineFile(engine="torch", precision="fp32"))
    for count in (1, 3, engine.batch):
        batch = windows(count)
        found, expected = called(engine, batch), called(reference, batch)
        assert found.shape == expected.shape
        assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.99


def test_tensorrt_without_a_gpu_is_refused_by_name() -> None:
    lacks = engines.missing("tensorrt", CPU)
    assert lacks is not None and lacks.code == "EngineUnavailable"
    assert "tensorrt" in lacks.message and "GPU" in lacks.message


def test_an_engine_whose_package_is_missing_says_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest, **options):
        if name.split(".")[0] in ("tensorrt", "onnxruntime", "triton"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    lacks = {name: engines.missing(name, GPU) for name in ("inductor", "onnxruntime", "tensorrt")}
    assert {error.code for error in lacks.values() if error} == {"EngineUnavailable"}
    assert "nvcr.io/nvidia/tensorrt" in lacks["tensorrt"].remedy
    assert engines.available(GPU) == ["torch"]


def test_inductor_without_a_compiler_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor.shutil, "which", lambda _: None)
    lacks = inductor.missing(CPU)
    assert lacks is not None and "C++ compiler" in lacks.message


def test_an_engine_that_was_not_compiled_is_named_with_those_that_were(folder: Path) -> None:
    with pytest.raises(StageError) as refused:
        engines.load(site_of(folder), model_folder.read(folder), "inductor")
    assert refused.value.code == "EngineNotCompiled"
    assert refused.value.allowed == "onnxruntime, torch"


def test_a_folder_for_an_engine_that_is_not_here_points_to_its_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_folder.read(folder)
    entry = EngineFile(engine="tensorrt", precision="fp16", file=tensorrt_engine.PLAN_FILE)
    model.engines.insert(0, entry)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StageError) as refused:
        engines.load(site_of(folder), model)
    assert refused.value.code == "EngineUnavailable"
    assert refused.value.remedy.endswith("This folder's onnxruntime can run here.")


def test_a_damaged_onnx_file_is_refused(folder: Path, tmp_path: Path) -> None:
    site = Site(folder=tmp_path, network=model_folder.read(folder).network, patch=PATCH)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    entry = EngineFile(engine="onnxruntime", precision="fp32", file="model.onnx")
    with pytest.raises(StageError) as refused:
        engines._module("onnxruntime").load(site, entry)
    assert refused.value.code == "EngineUnreadable"
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(StageError) as refused:
        engines._module("onnxruntime").load(site, entry)
    assert refused.value.code == "EngineFileMissing"


def test_a_small_gpu_gets_fewer_windows_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from voxelburst.engines.engine import windows_a_call

    def called(gib: float, patch=(128, 128, 128), width: int = 32) -> int:
        memory = SimpleNamespace(total_memory=int(gib * 2**30))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
        network = SimpleNamespace(features=[width])
        return windows_a_call(SimpleNamespace(patch=patch, network=network), GPU)

    assert called(80) == 8
    assert called(8) == 2
    assert called(1) == 1
    assert called(80, (40, 56, 40)) == 64
    assert called(80, (256, 256, 256)) == 1
    assert windows_a_call(SimpleNamespace(patch=(8, 8, 8), network=None), CPU) == 1
