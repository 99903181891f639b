"""The graphs that TensorRT is given compute what the network computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from voxelburst.contract import Network
from voxelburst.engines import Site, onnx_export, onnx_rewrite
from voxelburst.models import build

PATCH = (8, 8, 8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    network = Network(
        model="unet3d",
        input_channels=1,
        output_classes=3,
        features=[8, 16],
        strides=[(1, 1, 1), (2, 2, 2)],
        kernels=[(3, 3, 3)] * 2,
        deep_supervision_weights=[1.0],
    )
    model = build(network).eval().requires_grad_(False)
    for parameter in model.parameters():  # no two alike, as after a training
        parameter += 0.05 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("onnx")
    path = folder / "model.onnx"
    onnx_export.export(model, Site(folder=folder, network=network, patch=PATCH), "fp32", path)
    return model, path


def run(document: Any, windows: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(document.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {onnx_export.INPUT: windows.numpy()})
    return torch.from_numpy(logits)


def test_eight_bits_by_qdq_stay_close_to_the_network(exported: tuple[torch.nn.Module, Path]) -> None:
    model, path = exported
    windows = torch.randn(2, 1, *PATCH)
    amplitudes = onnx_rewrite.amplitudes(model, windows, torch.device("cpu"))
    document = onnx.load(path)
    # Four encoder convolutions and two of the decoder, but the first.
    assert onnx_rewrite.quantise(document, amplitudes) == 5
    onnx.checker.check_model(document)
    weights = [item for item in document.graph.initializer if len(item.dims) == 5]
    assert sum(item.data_type == onnx.TensorProto.INT8 for item in weights) == 5
    expected = model(windows)
    error = float((run(document, windows) - expected).norm() / expected.norm())
    assert 1e-4 < error < 0.1


def test_the_fused_norm_has_the_norms_parameters_and_the_activations_slope(
    exported: tuple[torch.nn.Module, Path],
) -> None:
    _, path = exported
    document, before = onnx.load(path), onnx.load(path)
    norms = [node for node in before.graph.node if node.op_type == "InstanceNormalization"]
    assert onnx_rewrite.fuse_norms(document) == len(norms) == 6
    kinds = {node.op_type for node in document.graph.node}
    assert not kinds & {"InstanceNormalization", "LeakyRelu"}
    # Each plugin node taken apart again gives the first graph's function.
    values = {item.name: numpy_helper.to_array(item) for item in before.graph.initializer}
    fused = [node for node in document.graph.node if node.op_type == "InstanceNormalization_TRT"]
    for node, norm in zip(fused, norms, strict=True):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert node.input[0] == norm.input[0]
        np.testing.assert_array_equal(np.float32(attributes["scales"]), values[norm.input[1]])
        np.testing.assert_array_equal(np.float32(attributes["bias"]), values[norm.input[2]])
        assert attributes["relu"] == 1 and attributes["alpha"] == pytest.approx(0.01)
        assert attributes["epsilon"] == pytest.approx(1e-5)
        assert any(node.output[0] in other.input for other in document.graph.node)
