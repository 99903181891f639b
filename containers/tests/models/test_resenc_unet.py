"""nnU-Net's residual-encoder U-Net: its parameters, its heads, its export."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from voxelburst.contract import Network
from voxelburst.engines import Site, onnx_export
from voxelburst.models import build, parameter_count
from voxelburst.models.resenc_unet import blocks_of


def network(**fields: object) -> Network:
    lists = {
        "features": [8, 16, 16],
        "strides": [(1, 1, 1), (1, 2, 2), (2, 2, 2)],
        "kernels": [(1, 3, 3), (3, 3, 3), (3, 3, 3)],
        "deep_supervision_weights": [2 / 3, 1 / 3],
    }
    return Network(model="resenc-unet", input_channels=2, output_classes=3, **{**lists, **fields})


def test_has_nnunets_blocks_a_stage() -> None:
    assert blocks_of(7) == [1, 3, 4, 6, 6, 6, 6]


def test_has_the_parameters_of_nnunets_network() -> None:
    """Six stages of 32 to 320 features, one channel, two classes, counted by hand from the architecture.

    A residual block: two 3x3x3 convolutions and two norms, and a 1x1x1 convolution and norm where it widens.
    """
    features = [32, 64, 128, 256, 320, 320]
    expected = 27 * 32 + 2 * 32  # the stem
    inputs = 32
    for count, outputs in zip((1, 3, 4, 6, 6, 6), features, strict=True):
        expected += 27 * inputs * outputs + 27 * outputs**2 + 4 * outputs
        expected += (inputs * outputs + 2 * outputs) if inputs != outputs else 0
        expected += (count - 1) * (2 * 27 * outputs**2 + 4 * outputs)
        inputs = outputs
    for fine, coarse in itertools.pairwise(features):
        expected += 8 * coarse * fine + fine  # transposed convolution with its bias
        expected += 27 * 2 * fine * fine + 2 * fine
    expected += 32 * 2 + 2
    whole = Network(
        model="resenc-unet",
        input_channels=1,
        output_classes=2,
        features=features,
        strides=[(1, 1, 1)] + [(2, 2, 2)] * 5,
        kernels=[(3, 3, 3)] * 6,
        deep_supervision_weights=[1.0],
    )
    with torch.device("meta"):
        assert parameter_count(build(whole)) == expected


def test_gives_one_head_in_eval_mode_and_the_supervised_ones_in_training() -> None:
    torch.manual_seed(0)
    model = build(network())
    patches = torch.randn(1, 2, 4, 16, 8)
    with torch.no_grad():
        shapes = [tuple(logits.shape) for logits in model.train()(patches)]
        assert shapes == [(1, 3, 4, 16, 8), (1, 3, 4, 8, 4)]
        assert tuple(model.eval()(patches).shape) == (1, 3, 4, 16, 8)


def test_every_parameter_of_a_supervised_network_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = build(network()).train()
    for name, parameter in model.named_parameters():
        if "norm" not in name and parameter.dim() == 1:
            parameter.data += 0.1  # norms that begin at zero hide what is before them
    finest, coarse = model(torch.randn(1, 2, 4, 16, 8))
    (finest.square().sum() + coarse.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_is_exported_to_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(network()).eval().requires_grad_(False)
    site = Site(folder=tmp_path, network=network(), patch=(4, 16, 8))
    onnx_export.export(model, site, "fp32", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    patches = torch.randn(3, 2, 4, 16, 8)
    (found,) = session.run(None, {"image": patches.numpy()})
    np.testing.assert_allclose(found, model(patches).numpy(), atol=1e-4)


@pytest.mark.parametrize("field", ["strides", "kernels"])
def test_lists_that_contradict_each_other_are_refused(field: str) -> None:
    with pytest.raises(Exception, match="one of each a stage"):
        build(network(**{field: [(1, 1, 1)]}))
