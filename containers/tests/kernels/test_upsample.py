"""Transposed convolutions as matrix products: the same function, under the same names."""

from __future__ import annotations

import copy

import pytest
import torch
from test_norm_activation import NETWORK
from torch import nn

from voxelburst import models
from voxelburst.kernels import fuse_upsamples
from voxelburst.kernels.upsample import MatmulUpsample, is_matmul


@pytest.mark.parametrize("block", [(2, 2, 2), (1, 2, 2), (1, 2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_is_the_transposed_convolution_with_its_gradients(block: tuple[int, int, int], bias: bool) -> None:
    theirs = nn.ConvTranspose3d(6, 5, block, block, bias=bias)
    ours = MatmulUpsample(theirs.weight, theirs.bias)
    x = torch.randn(2, 6, 3, 4, 2).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    expected, got = theirs(x), ours(x)
    assert got.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(got, expected)
    dy = torch.randn_like(expected)
    leaves = (x, *theirs.parameters())
    for a, b in zip(
        torch.autograd.grad(got, leaves, dy), torch.autograd.grad(expected, leaves, dy), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_network_with_it_computes_the_same_under_the_same_names() -> None:
    network = models.build(NETWORK).eval()
    fused = copy.deepcopy(network)
    assert fuse_upsamples(fused) == 2
    assert list(fused.state_dict()) == list(network.state_dict())
    assert fuse_upsamples(fused) == 0
    patches = torch.randn(2, 1, 8, 8, 8)
    torch.testing.assert_close(fused(patches), network(patches))


def test_other_transposed_convolutions_are_left_alone() -> None:
    assert not is_matmul(nn.ConvTranspose3d(2, 2, 3, 2))
    assert not is_matmul(nn.ConvTranspose3d(2, 2, 2, 2, padding=1))
    assert not is_matmul(nn.Conv3d(2, 2, 2, 2))
