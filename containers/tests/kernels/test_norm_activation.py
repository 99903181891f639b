"""The fused norm and activation on the CPU: the operation, its kernels interpreted, the fusion."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from triton_interpreter import run_interpreted

from voxelburst import models
from voxelburst.contract import Network
from voxelburst.kernels import InstanceNormLeakyReLU, fuse, instance_norm_leaky_relu, norm_activation

NETWORK = Network(
    model="unet3d",
    input_channels=1,
    output_classes=3,
    features=[4, 6, 8],
    strides=[(1, 1, 1), (2, 2, 2), (2, 2, 2)],
    kernels=[(3, 3, 3)] * 3,
    deep_supervision_weights=[2 / 3, 1 / 3],
)


def arrays(*shape: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(shape) + shape[1])
    x = torch.randn(shape, generator=generator).to(dtype) + 0.5
    parameters = torch.randn(2, shape[1], generator=generator)
    return [x.requires_grad_(), *(p.clone().requires_grad_() for p in parameters)]


def eager(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.leaky_relu(nn.functional.instance_norm(x, weight=weight, bias=bias), 0.01)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_triton_kernels_equal_float64_under_tritons_interpreter() -> None:
    passed = re.search(r"(\d+) passed", run_interpreted(Path(__file__).with_name("interpreted_kernels.py")))
    assert passed and int(passed[1]) >= 20


def test_equals_instance_norm_and_leaky_relu_and_their_gradients() -> None:
    x, weight, bias = arrays(2, 5, 3, 4, 6)
    dy = torch.randn_like(x)
    ours, theirs = instance_norm_leaky_relu(x, weight, bias), eager(x, weight, bias)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad(ours, (x, weight, bias), dy)
    want = torch.autograd.grad(theirs, (x, weight, bias), dy)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
def test_stays_accurate_on_large_volumes_far_from_zero(mean: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 32, 40, 36, generator=generator) + mean
    weight, bias = torch.randn(2, 4, generator=generator)
    dy = torch.randn(x.shape, generator=generator)
    got, want = (
        torch.autograd.grad(function(*inputs), inputs, dy.to(inputs[0].dtype))
        for function, inputs in (
            (instance_norm_leaky_relu, [t.clone().requires_grad_() for t in (x, weight, bias)]),
            (eager, [t.double().requires_grad_() for t in (x, weight, bias)]),
        )
    )
    for ours, exact in zip(got, want, strict=True):
        # Elements within rounding of the activation's kink may fall on its other side.
        near = (ours.double() - exact).abs() <= 1e-4 * exact.abs().max() * max(1.0, mean / 10)
        assert near.float().mean() > 0.99999


def test_gradients_agree_with_differences_in_float64() -> None:
    x, weight, bias = (t.detach().double().requires_grad_() for t in arrays(2, 3, 2, 3, 2))
    assert torch.autograd.gradcheck(instance_norm_leaky_relu, (x, weight, bias))


def test_the_operator_keeps_what_torch_compile_relies_on() -> None:
    checks = torch.library.opcheck(norm_activation._forward, (*arrays(2, 3, 2, 3, 4), 1e-5, 0.01))
    assert set(checks.values()) == {"SUCCESS"}
    x, weight, bias = (t.detach() for t in arrays(2, 3, 2, 3, 4))
    _, mean, rstd = norm_activation._forward(x, weight, bias, 1e-5, 0.01)
    checks = torch.library.opcheck(norm_activation._backward, (x.clone(), x, weight, bias, mean, rstd, 0.01))
    assert set(checks.values()) == {"SUCCESS"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_keeps_the_type_of_x_and_of_the_parameters_and_gives_channels_last(dtype: torch.dtype) -> None:
    x, weight, bias = arrays(2, 6, 3, 4, 5, dtype=dtype)
    x = x.detach().requires_grad_()
    y = instance_norm_leaky_relu(x, weight, bias)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    y.float().square().sum().backward()
    assert x.grad is not None and x.grad.dtype == dtype
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), eager(x.float(), weight, bias), rtol=2e-2, atol=2e-2)


def test_one_voxel_of_space_gives_the_activated_bias_and_no_gradient_of_x() -> None:
    x, weight, bias = arrays(2, 4, 1, 1, 1)
    y = instance_norm_leaky_relu(x, weight, bias)
    assert torch.equal(y[:, :, 0, 0, 0], nn.functional.leaky_relu(bias, 0.01).expand(2, 4))
    y.sum().backward()
    assert x.grad is not None and not x.grad.any()


def test_an_empty_batch_stays_empty() -> None:
    x = torch.empty(0, 4, 2, 2, 2, requires_grad=True)
    weight, bias = torch.ones(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    y = instance_norm_leaky_relu(x, weight, bias)
    y.sum().backward()
    assert y.shape == x.shape
    assert weight.grad is not None and not weight.grad.any()


def test_refuses_what_is_no_volume_by_saying_what_it_must_be() -> None:
    x, weight, bias = (t.detach() for t in arrays(2, 3, 2, 3, 4))
    with pytest.raises(ValueError, match=r"must be \(n, c, d, h, w\)"):
        instance_norm_leaky_relu(x[0], weight, bias)
    with pytest.raises(ValueError, match=r"c to w at least 1"):
        instance_norm_leaky_relu(x[..., :0], weight, bias)
    with pytest.raises(ValueError, match=r"bias has the shape \(2,\); it must be \(3,\)"):
        instance_norm_leaky_relu(x, weight, bias[:2])
    with pytest.raises(TypeError, match=r"int64; it must be of one of torch.bfloat16"):
        instance_norm_leaky_relu(x.long(), weight, bias)


def fused_copy(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    assert fuse(copied) > 0
    return copied


def test_fuses_every_norm_of_the_network_once() -> None:
    model = models.build(NETWORK)
    before = {name: id(p) for name, p in model.named_parameters()}
    norms = sum(isinstance(m, nn.InstanceNorm3d) for m in model.modules())
    # Two convolution blocks of two norms a stage but for the deepest, which has one.
    assert fuse(model) == norms == 2 * 5
    assert not any(isinstance(m, nn.InstanceNorm3d | nn.LeakyReLU) for m in model.modules())
    assert {name: id(p) for name, p in model.named_parameters()} == before
    assert fuse(model) == 0


def test_a_fused_network_gives_the_results_and_gradients_of_the_one_it_was_made_of() -> None:
    torch.manual_seed(0)
    model = models.build(NETWORK)
    for norm in (m for m in model.modules() if isinstance(m, nn.InstanceNorm3d)):
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    fused = fused_copy(model)
    patches = torch.randn(2, 1, 8, 12, 8)
    for ours, theirs in zip(fused(patches), model(patches), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for network in (model, fused):
        sum(head.square().mean() for head in network(patches)).backward()
    for (name, ours), theirs in zip(fused.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(fused.eval()(patches), model.eval()(patches), rtol=1e-4, atol=1e-4)


def test_weights_load_from_a_fused_network_and_into_one(tmp_path: Path) -> None:
    plain, fused = models.build(NETWORK), models.build(NETWORK)
    fuse(fused)
    assert list(plain.state_dict()) == list(fused.state_dict())
    for source, target in ((plain, fused), (fused, plain)):
        for parameter in source.parameters():
            nn.init.normal_(parameter)
        models.save_weights(source, tmp_path / "weights.pt")
        models.load_weights(target, tmp_path / "weights.pt")
        for a, b in zip(source.parameters(), target.parameters(), strict=True):
            assert torch.equal(a, b)


def test_torch_compile_takes_a_fused_network_in_one_graph() -> None:
    fused = models.build(dataclasses.replace(NETWORK, deep_supervision_weights=[1.0]))
    fuse(fused)
    patches = torch.randn(1, 1, 8, 8, 8)
    expected = fused(patches)[0]
    # aot_eager traces forward and backward as Inductor does, without compiling C++.
    (got,) = torch.compile(fused, backend="aot_eager", fullgraph=True)(patches)
    torch.testing.assert_close(got, expected)
    assert torch.autograd.grad(got.sum(), fused.input_block.norm1.weight)[0].any()


def test_leaves_norms_that_it_cannot_replace() -> None:
    model = models.build(NETWORK)
    block = model.input_block
    block.norm1 = nn.InstanceNorm3d(4, affine=False)
    model.bottleneck.lrelu = nn.ReLU()
    assert fuse(model) == 2 * 5 - 4
    assert type(block.norm2) is nn.InstanceNorm3d and type(block.lrelu) is nn.LeakyReLU
    assert type(model.downsamples[0].norm1) is InstanceNormLeakyReLU
