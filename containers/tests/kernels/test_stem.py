"""The first convolution's operation on the CPU, its kernels interpreted, and its place in a network."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from test_norm_activation import NETWORK
from triton_interpreter import run_interpreted

from voxelburst import models
from voxelburst.kernels import fuse_stem
from voxelburst.kernels.stem import StemConvolution, stem_convolution


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_triton_kernels_equal_float64_under_tritons_interpreter() -> None:
    passed = re.search(r"(\d+) passed", run_interpreted(Path(__file__).with_name("interpreted_stem.py")))
    assert passed and int(passed[1]) >= 3


def test_is_pytorchs_convolution_with_its_gradients() -> None:
    x = torch.randn(2, 2, 4, 5, 6, requires_grad=True)
    weight = torch.randn(5, 2, 3, 3, 3, requires_grad=True)
    ours = stem_convolution(x, weight)
    theirs = torch.nn.functional.conv3d(x, weight, padding=1)
    assert ours.is_contiguous(memory_format=torch.channels_last_3d)
    dy = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad(ours, (x, weight), dy), torch.autograd.grad(theirs, (x, weight), dy), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_network_with_it_computes_the_same_under_the_same_names() -> None:
    network = models.build(NETWORK)
    fused = copy.deepcopy(network)
    assert fuse_stem(fused)
    assert any(isinstance(module, StemConvolution) for module in fused.modules())
    assert list(fused.state_dict()) == list(network.state_dict())
    assert not fuse_stem(fused)
    patches = torch.randn(2, 1, 8, 8, 8)
    torch.testing.assert_close(fused.eval()(patches), network.eval()(patches))


def test_autocast_decides_its_type_as_a_convolutions() -> None:
    fused = models.build(NETWORK)
    fuse_stem(fused)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = fused.train()(torch.randn(1, 1, 8, 8, 8))
    sum(output.float().square().mean() for output in outputs).backward()
    stem = next(module for module in fused.modules() if isinstance(module, StemConvolution))
    assert stem.weight.grad is not None and stem.weight.grad.isfinite().all()
