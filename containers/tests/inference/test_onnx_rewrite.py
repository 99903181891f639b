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
from voxelburst.engines import Site, onnx_export, onnx_norms, onnx_rewrite
from voxelburst.models import build

PATCH = (8, 8, 8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    return network_of([8, 16], tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """Of as many channels as 8 bits have in a vector."""
    return network_of([32, 32], tmp_path_factory.mktemp("wide"))


def network_of(features: list[int], folder: Path) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    network = Network(
        model="unet3d",
        input_channels=1,
        output_classes=3,
        features=features,
        strides=[(1, 1, 1), (2, 2, 2)],
        kernels=[(3, 3, 3)] * 2,
        deep_supervision_weights=[1.0],
    )
    model = build(network).eval().requires_grad_(False)
    for parameter in model.parameters():  # no two alike, as after a training
        parameter += 0.05 * torch.randn_like(parameter)
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


def test_norms_as_sums_and_products_are_the_network(exported: tuple[torch.nn.Module, Path]) -> None:
    model, path = exported
    document = onnx.load(path)
    assert onnx_norms.decompose_norms(document) == 6
    onnx.checker.check_model(document, full_check=True)
    assert not any(node.op_type == "InstanceNormalization" for node in document.graph.node)
    windows = torch.randn(2, 1, *PATCH) + 3
    torch.testing.assert_close(run(document, windows), model(windows), rtol=1e-4, atol=1e-4)


def test_the_fused_norm_has_the_norms_parameters_and_the_activations_slope(
    exported: tuple[torch.nn.Module, Path],
) -> None:
    model, path = exported
    document, before = onnx.load(path), onnx.load(path)
    assert onnx_norms.fuse_norms(document) == 6
    kinds = {node.op_type for node in document.graph.node}
    assert not kinds & {"InstanceNormalization", "LeakyRelu"}
    first = next(node for node in before.graph.node if node.op_type == "InstanceNormalization")
    values = {item.name: numpy_helper.to_array(item) for item in before.graph.initializer}
    attributes, fused = attributes_of(plugins(document)[0]), plugins(document)[0]
    given = {item.name: numpy_helper.to_array(item) for item in document.graph.initializer}
    for ours, theirs in zip(fused.input[1:], first.input[1:], strict=True):
        assert given[ours].dtype == np.float32
        np.testing.assert_array_equal(given[ours], values[theirs])
    assert attributes["channels"] == 8
    assert attributes["alpha"] == pytest.approx(0.01) and attributes["epsilon"] == pytest.approx(1e-5)
    assert attributes["inverse"] == 0
    windows = torch.randn(2, 1, *PATCH)
    torch.testing.assert_close(run(unfused(document), windows), model(windows), rtol=1e-4, atol=1e-4)


def test_a_norm_writes_eight_bits_where_a_quantised_convolution_alone_reads_it(
    wide: tuple[torch.nn.Module, Path],
) -> None:
    model, path = wide
    windows = torch.randn(2, 1, *PATCH)
    document = onnx.load(path)
    onnx_rewrite.quantise(document, onnx_rewrite.amplitudes(model, windows, torch.device("cpu")))
    want = run(document, windows)
    quantisers = sum(node.op_type == "QuantizeLinear" for node in document.graph.node)
    onnx_norms.fuse_norms(document)
    inverses = [attributes_of(node)["inverse"] for node in plugins(document)]
    taken = sum(inverse > 0 for inverse in inverses)
    # The first norm of each of the three stages; the second ones' results go into other layers too.
    assert taken == 3
    assert sum(node.op_type == "QuantizeLinear" for node in document.graph.node) == quantisers - taken
    torch.testing.assert_close(run(unfused(document), windows), want, rtol=1e-3, atol=1e-3)


def test_norms_of_channels_that_no_layout_has_stay(exported: tuple[torch.nn.Module, Path]) -> None:
    document = onnx.load(exported[1])
    for item in document.graph.initializer:
        if "norm" in item.name and list(item.dims) == [8]:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item)[:6], item.name))
    assert onnx_norms.fuse_norms(document) == 2


def plugins(document: Any) -> list[Any]:
    return [node for node in document.graph.node if node.op_type == onnx_norms.PLUGIN]


def attributes_of(node: Any) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def unfused(document: Any) -> Any:
    """The graph with each plugin taken apart again into what ONNX Runtime knows."""
    nodes = []
    for node in document.graph.node:
        if node.op_type != onnx_norms.PLUGIN:
            nodes.append(node)
            continue
        has, at = attributes_of(node), node.output[0]
        nodes.append(
            helper.make_node("InstanceNormalization", node.input, [f"{at}_norm"], epsilon=has["epsilon"])
        )
        result = f"{at}_wide" if has["inverse"] else at
        nodes.append(helper.make_node("LeakyRelu", [f"{at}_norm"], [result], alpha=has["alpha"]))
        if has["inverse"]:
            for name, value in (("step", np.float32(1 / has["inverse"])), ("zero", np.int8(0))):
                document.graph.initializer.append(numpy_helper.from_array(np.array(value), f"{at}_{name}"))
            nodes.append(helper.make_node("QuantizeLinear", [result, f"{at}_step", f"{at}_zero"], [at]))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del document.graph.node[:]
    document.graph.node.extend(copies)
    return document
