"""The fused norm and activation on a GPU: right, repeatable, one graph under torch.compile.

Skipped where there is none. MONAI, which a machine with a GPU may lack, is needed by one test alone.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from kink import other_side
from torch import nn

from voxelburst.kernels import InstanceNormLeakyReLU, instance_norm_leaky_relu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

EPS, SLOPE = 1e-5, 0.01
SHAPES = [
    (2, 32, 40, 56, 40),
    (1, 30, 17, 19, 23),
    (3, 5, 7, 11, 13),
    (2, 320, 8, 8, 8),
    (2, 320, 5, 7, 5),
    (1, 1, 33, 9, 65),
    (2, 70, 1, 1, 2049),
    (2, 16, 1, 1, 1),
    (1, 96, 10, 10, 10),
    (1, 96, 10, 10, 11),
]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """torch.empty gives NaN, so that an element which no kernel writes shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


def arrays(
    shape: tuple[int, ...], dtype: torch.dtype, mean: float = 0.5, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, dy, weight, bias; x and dy in NDHWC memory."""
    generator = torch.Generator("cuda").manual_seed(seed)
    x = torch.randn(shape, generator=generator, device="cuda") + mean
    dy = torch.randn(shape, generator=generator, device="cuda") + 0.3
    weight, bias = torch.randn(2, shape[1], generator=generator, device="cuda").unbind()
    x, dy = (tensor.to(dtype).contiguous(memory_format=torch.channels_last_3d) for tensor in (x, dy))
    return x.requires_grad_(), dy, weight.clone().requires_grad_(), bias.clone().requires_grad_()


def ours(
    x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> dict[str, torch.Tensor]:
    y = instance_norm_leaky_relu(x, weight, bias, EPS, SLOPE)
    dx, dweight, dbias = torch.autograd.grad(y, (x, weight, bias), dy)
    return {"y": y.detach(), "dx": dx, "dweight": dweight, "dbias": dbias}


def reference(
    x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The definition in float64, a sample at a time for the sake of memory, with the terms dx is a sum of."""
    parts: dict[str, list[torch.Tensor]] = {"y": [], "dx": [], "terms": [], "other dx": []}
    dweight, dbias = torch.zeros_like(weight).double(), torch.zeros_like(bias).double()
    for x_one, dy_one in zip(x.detach().double().split(1), dy.double().split(1), strict=True):
        leaves = [t.detach().double().requires_grad_() for t in (x_one, weight, bias)]
        mean = leaves[0].mean((2, 3, 4), keepdim=True)
        rstd = ((leaves[0] - mean).square().mean((2, 3, 4), keepdim=True) + EPS).rsqrt()
        z = (leaves[0] - mean) * rstd * leaves[1][:, None, None, None] + leaves[2][:, None, None, None]
        y = nn.functional.leaky_relu(z, SLOPE)
        dx, dweight_one, dbias_one = torch.autograd.grad(y, leaves, dy_one)
        scale = (rstd * leaves[1][:, None, None, None]).detach()
        terms = scale * dy_one
        other = other_side(dx, terms, z.detach(), scale, mean.detach())
        for name, part in (("y", y.detach()), ("dx", dx), ("terms", terms), ("other dx", other)):
            parts[name].append(part)
        dweight += dweight_one
        dbias += dbias_one
    joined = {name: torch.cat(samples) for name, samples in parts.items()}
    return {**joined, "dweight": dweight, "dbias": dbias}


def assert_close(out: dict[str, torch.Tensor], want: dict[str, torch.Tensor], tolerance: float) -> None:
    for name, array in out.items():
        assert torch.isfinite(array).all(), f"{name} has elements that are not finite"
        error = array.double() - want[name]
        if name == "dx":
            error = torch.minimum(error.abs(), (array.double() - want["other dx"]).abs())
        error = error.norm()
        scale = want["terms" if name == "dx" else name].norm()
        assert error <= tolerance * scale + 1e-6, f"{name}: relative error {float(error / scale):.2e}"


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)], ids=str
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_float64(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    inputs = arrays(shape, dtype)
    out = ours(*inputs)
    assert out["y"].dtype == out["dx"].dtype == dtype
    assert out["y"].is_contiguous(memory_format=torch.channels_last_3d)
    assert_close(out, reference(*inputs), tolerance)


@pytest.mark.parametrize("shape", [(2, 32, 128, 128, 128), (8, 32, 128, 128, 128)], ids=str)
def test_equals_float64_at_full_size(shape: tuple[int, ...]) -> None:
    inputs = arrays(shape, torch.bfloat16)
    out = ours(*inputs)
    # A sample at a time: float64 of eight would fill the card.
    for n in range(shape[0]):
        x, dy, weight, bias = (t[n : n + 1] if t.dim() == 5 else t for t in inputs)
        want = reference(x, dy, weight, bias)
        for name in ("y", "dx"):
            error = (out[name][n : n + 1].double() - want[name]).norm() / want[name].norm()
            assert error < 4e-3, f"{name} of sample {n}: relative error {float(error):.2e}"
    if shape[0] == 2:
        whole = reference(*inputs)
        for name in ("dweight", "dbias"):
            # Sums of four million terms, some of which cancel.
            torch.testing.assert_close(out[name].double(), whole[name], rtol=1e-3, atol=1.0)


def test_addresses_more_than_two_to_the_31_elements() -> None:
    shape = (2, 32, 512, 512, 136)  # 2.28e9 elements, 4.6 GB an array
    free, _ = torch.cuda.mem_get_info()
    if free < 16e9:
        pytest.skip("needs 16 GB of free GPU memory")
    x = torch.empty(
        shape, dtype=torch.bfloat16, device="cuda", memory_format=torch.channels_last_3d
    ).normal_()
    weight, bias = torch.randn(2, 32, device="cuda").unbind()
    y = instance_norm_leaky_relu(x, weight, bias, EPS, SLOPE)
    for channel in (0, 31):
        one = x[1, channel].double()
        z = (one - one.mean()) * (one.var(correction=0) + EPS).rsqrt() * weight[channel] + bias[channel]
        torch.testing.assert_close(
            y[1, channel].double(), nn.functional.leaky_relu(z, SLOPE), rtol=1e-2, atol=1e-2
        )


def test_a_mean_far_from_zero_is_taken_out_without_cancellation() -> None:
    inputs = arrays((2, 32, 40, 56, 40), torch.float32, mean=1e4)
    # float32 holds this mean to 5e-4 of x's deviations, of which dweight gets twice as much; sums of squares
    # would leave nothing. interpreted_kernels.py has the statistics themselves.
    out, want = ours(*inputs), reference(*inputs)
    assert_close(out, want, 2e-3)
    switches = want["other dx"] != want["dx"]
    assert switches.double().mean() < 1e-3
    error = (out["dx"].double() - want["dx"])[~switches].norm()
    assert error <= 5e-4 * want["terms"].norm()


@pytest.mark.parametrize("shape", [(7, 32, 40, 56, 40), (2, 320, 8, 8, 8)], ids=str)
def test_equal_inputs_give_equal_bits_in_whatever_batch(shape: tuple[int, ...]) -> None:
    x, dy, weight, bias = arrays(shape, torch.bfloat16)
    first = ours(x, dy, weight, bias)
    for _ in range(10):
        again = ours(x, dy, weight, bias)
        for name, array in first.items():
            assert torch.equal(array, again[name]), name
    alone = ours(x[1:2].detach().requires_grad_(), dy[1:2], weight, bias)
    assert torch.equal(alone["y"], first["y"][1:2])
    assert torch.equal(alone["dx"], first["dx"][1:2])


def test_takes_any_memory_format_and_expanded_gradients() -> None:
    x, _, weight, bias = arrays((2, 24, 9, 10, 11), torch.float32)
    dense = x.detach().contiguous().requires_grad_()
    y, y_of_dense = (instance_norm_leaky_relu(t, weight, bias) for t in (x, dense))
    assert torch.equal(y, y_of_dense)
    y_of_dense.sum().backward()
    want = reference(x, torch.ones_like(x), weight, bias)
    assert dense.grad is not None
    assert_close({"dx": dense.grad}, want, 2e-5)


class Net(nn.Module):
    """Two convolutions with the norm and activation in question, as a block of the U-Net has them."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 32, 3, padding=1, bias=False)
        self.norm1 = self.norm(fused)
        self.conv2 = nn.Conv3d(32, 32, 3, padding=1, bias=False)
        self.norm2 = self.norm(fused)
        self.head = nn.Conv3d(32, 2, 1)
        self.activation: nn.Module = nn.Identity() if fused else nn.LeakyReLU(SLOPE)

    @staticmethod
    def norm(fused: bool) -> nn.Module:
        if not fused:
            return nn.InstanceNorm3d(32, affine=True)
        return InstanceNormLeakyReLU(nn.Parameter(torch.ones(32)), nn.Parameter(torch.zeros(32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.norm1(self.conv1(x)))
        return self.head(self.activation(self.norm2(self.conv2(x))))


def test_torch_compile_takes_it_in_one_graph_and_gives_the_eager_result() -> None:
    torch.manual_seed(0)
    fused, plain = Net(fused=True).cuda(), Net(fused=False).cuda()
    plain.load_state_dict(fused.state_dict())
    fused, plain = (net.to(memory_format=torch.channels_last_3d) for net in (fused, plain))  # type: ignore[call-overload]
    compiled = torch.compile(copy.deepcopy(fused), fullgraph=True, dynamic=False)
    patches = torch.randn(2, 1, 32, 40, 32, device="cuda").contiguous(memory_format=torch.channels_last_3d)
    results = []
    for net in (plain, fused, compiled):
        with torch.autocast("cuda", torch.bfloat16):
            logits = net(patches)
        logits.float().square().mean().backward()
        results.append([logits.detach().float(), *(p.grad.float() for p in net.parameters())])
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            # bfloat16 convolutions round differently compiled and not: the norm of the difference counts.
            assert (got - want).norm() <= 0.03 * want.norm() + 1e-6


def test_runs_in_a_cuda_graph() -> None:
    x, dy, weight, bias = arrays((2, 32, 16, 16, 16), torch.bfloat16)
    expected = ours(x, dy, weight, bias)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = ours(x, dy, weight, bias)
    graph.replay()
    torch.cuda.synchronize()
    for name, array in expected.items():
        assert torch.equal(array, captured[name]), name


def test_a_state_dict_goes_to_the_unfused_network_and_back() -> None:
    pytest.importorskip("monai")
    from voxelburst import models
    from voxelburst.contract import Network
    from voxelburst.kernels import fuse

    network = Network(
        model="unet3d", input_channels=1, output_classes=3, features=[32, 64, 128, 256],
        strides=[(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)], kernels=[(3, 3, 3)] * 4,
        deep_supervision_weights=[2 / 3, 1 / 3, 0.0],
    )  # fmt: skip
    plain, fused = models.build(network).cuda().eval(), models.build(network).cuda().eval()
    assert fuse(fused) == 14
    fused.load_state_dict(plain.state_dict())
    plain.load_state_dict(fused.state_dict())
    patches = torch.randn(2, 1, 40, 56, 40, device="cuda")
    torch.backends.cudnn.allow_tf32, before = False, torch.backends.cudnn.allow_tf32
    with torch.no_grad():
        error = (fused(patches) - plain(patches)).norm() / plain(patches).norm()
    torch.backends.cudnn.allow_tf32 = before
    assert error < 1e-4


def test_the_benchmark_prints_its_smallest_shape() -> None:
    program = (
        "import sys; from voxelburst.kernels import bench; bench.SHAPES = bench.SHAPES[-1:]; "
        "sys.exit(bench.main(['--replays', '5', '--tilings']))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2] / "src", capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert "2x320x8x8x8  fused NDHWC" in process.stdout
