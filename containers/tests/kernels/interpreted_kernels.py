"""The Triton kernels against float64, executed by Triton's interpreter on the CPU.

Not collected by itself: Triton reads TRITON_INTERPRET when it is imported, so test_norm_activation.py runs
this file in a process of its own. Tiles are tiny, so that small arrays take many tiles and parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kink import other_side
from triton_interpreter import use_interpreter

from voxelburst.kernels import norm_activation_triton as kernels
from voxelburst.kernels.norm_activation_triton import DEFAULT, Tiling

use_interpreter()

EPS, SLOPE = 1e-5, 0.01
# Tiles of 8 places at 16 channels; parts of 1 to 4 tiles; three launches, however small the volume.
MANY_PARTS = Tiling(
    tile_elements=128, programs_per_sample=3, min_tiles=1, max_tiles=4, small_places=0, apply_tiles=3
)
ONE_LAUNCH = dataclasses.replace(MANY_PARTS, small_places=10**6)
PATHS = pytest.mark.parametrize("tiling", [MANY_PARTS, ONE_LAUNCH], ids=["three launches", "one launch"])
GUARD = 8


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """torch.empty gives NaN: what a kernel leaves unwritten, or reads before it is written, shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


def guarded(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """An array of NaN, and the memory it lies in with a guard of 77s on either side."""
    count = torch.Size(shape).numel()
    memory = torch.full((count + 2 * GUARD,), 77.0, dtype=dtype)
    inner = memory[GUARD : GUARD + count]
    inner.fill_(float("nan"))
    return inner.view(shape), memory


def outside(memory: torch.Tensor) -> torch.Tensor:
    return torch.cat([memory[:GUARD], memory[-GUARD:]])


def run(
    x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tiling: Tiling
) -> dict[str, torch.Tensor]:
    n, _, c = x.shape
    shapes = {"y": x.shape, "dx": x.shape, "mean": (n, c), "rstd": (n, c), "dweight": (n, c), "dbias": (n, c)}
    types = {"y": x.dtype, "dx": x.dtype}
    made = {name: guarded(shape, types.get(name, torch.float32)) for name, shape in shapes.items()}
    out = {name: array for name, (array, _) in made.items()}
    kernels.forward(
        x, weight, bias, EPS, SLOPE, y_nsc=out["y"], mean_nc=out["mean"], rstd_nc=out["rstd"], tiling=tiling
    )
    kernels.backward(
        dy, x, weight, bias, out["mean"], out["rstd"], SLOPE,
        dx_nsc=out["dx"], dweight_nc=out["dweight"], dbias_nc=out["dbias"], tiling=tiling,
    )  # fmt: skip
    for name, (_, memory) in made.items():
        assert (outside(memory) == 77).all(), f"{name} was written outside its bounds"
    return out


def reference(
    x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The definition, in float64, with gradients by autograd; those of the parameters a sample apart."""
    n = len(x)
    x64 = x.double().requires_grad_()
    weight64 = weight.double().repeat(n, 1).requires_grad_()
    bias64 = bias.double().repeat(n, 1).requires_grad_()
    mean = x64.mean(1, keepdim=True)
    rstd = (((x64 - mean) ** 2).mean(1, keepdim=True) + EPS).rsqrt()
    z = (x64 - mean) * rstd * weight64[:, None] + bias64[:, None]
    y = torch.nn.functional.leaky_relu(z, SLOPE)
    dx, dweight, dbias = torch.autograd.grad(y, (x64, weight64, bias64), dy.double())
    # Of few places dx is a small difference: its rounding is that of the terms.
    terms = weight64.detach()[:, None] * rstd.detach() * dy.double()
    scale = (rstd * weight64[:, None]).detach()
    return {
        "y": y.detach(), "dx": dx, "dweight": dweight, "dbias": dbias,
        "mean": mean[:, 0].detach(), "rstd": rstd[:, 0].detach(), "terms of dx": terms,
        "other dx": other_side(dx, terms, z.detach(), scale, mean.detach()),
    }  # fmt: skip


def arrays(
    n: int, s: int, c: int, dtype: torch.dtype = torch.float32, seed: int = 0, mean: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, s, c, generator=generator) * (1 + torch.rand(c, generator=generator)) + mean
    dy = torch.randn(n, s, c, generator=generator) + 0.3
    weight = torch.randn(c, generator=generator)
    bias = torch.randn(c, generator=generator)
    return x.to(dtype), dy.to(dtype), weight, bias


def assert_close(out: dict[str, torch.Tensor], want: dict[str, torch.Tensor], tolerance: float) -> None:
    for name in out:
        error = out[name].double() - want[name]
        if name == "dx":
            error = torch.minimum(error.abs(), (out[name].double() - want["other dx"]).abs())
        error = error.norm()
        scale = want["terms of dx" if name == "dx" else name].norm()
        assert error <= tolerance * scale + 1e-6, f"{name}: relative error {float(error / scale):.2e}"


@PATHS
@pytest.mark.parametrize(
    "n, s, c", [(1, 1, 3), (2, 2, 30), (3, 67, 5), (1, 61, 32), (1, 7, 136), (1, 300, 1)]
)
def test_equals_float64_on_odd_sizes(n: int, s: int, c: int, tiling: Tiling) -> None:
    x, dy, weight, bias = arrays(n, s, c)
    assert_close(run(x, dy, weight, bias, tiling), reference(x, dy, weight, bias), 1e-5)


def test_equals_float64_on_the_widest_stage_of_the_network() -> None:
    x, dy, weight, bias = arrays(1, 12, 320)
    assert_close(run(x, dy, weight, bias, ONE_LAUNCH), reference(x, dy, weight, bias), 1e-5)


@PATHS
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_half_precision_loses_no_more_than_its_own_rounding(
    dtype: torch.dtype, tolerance: float, tiling: Tiling
) -> None:
    x, dy, weight, bias = arrays(2, 33, 14, dtype)
    out = run(x, dy, weight, bias, tiling)
    assert out["y"].dtype == out["dx"].dtype == dtype
    want = reference(x, dy, weight, bias)
    assert_close(out, want, tolerance)
    # What stays in float32 keeps float32's precision.
    for name in ("mean", "rstd", "dweight", "dbias"):
        torch.testing.assert_close(out[name].double(), want[name], rtol=1e-4, atol=1e-4)


@PATHS
def test_a_mean_ten_thousand_deviations_from_zero_is_taken_out_without_cancellation(tiling: Tiling) -> None:
    x, dy, weight, bias = arrays(1, 90, 7, mean=1e4)
    for outlier in (False, True):
        if outlier:  # a shift by the first place's value, the usual remedy, fails here
            x[:, 0] = 0.0
        want = reference(x, dy, weight, bias)
        out = run(x, dy, weight, bias, tiling)
        # float32 holds this mean to 5e-4, a part of x's deviations, and so each part's mean too. Sums of
        # squares would leave no digit of the variance at all.
        torch.testing.assert_close(out["mean"].double(), want["mean"], rtol=1e-7, atol=0)
        torch.testing.assert_close(out["rstd"].double(), want["rstd"], rtol=1e-4, atol=0)
        assert_close(out, want, 5e-4)


def test_a_far_mean_changes_the_gradient_of_elements_at_the_activations_kink_alone() -> None:
    x, dy, weight, bias = arrays(1, 6000, 16, mean=1e4)
    out, want = run(x, dy, weight, bias, DEFAULT), reference(x, dy, weight, bias)
    # A mean of 1e4 is rounded by up to 4.9e-4 of a deviation, and once more where parts are joined. dweight
    # has some twice that, as the sum of g * xhat is half of the sum of g.
    torch.testing.assert_close(out["mean"].double(), want["mean"], rtol=0, atol=2**-10)
    torch.testing.assert_close(out["rstd"].double(), want["rstd"], rtol=2e-5, atol=0)
    assert_close(out, want, 2e-3)
    switches = want["other dx"] != want["dx"]
    assert 0 < switches.double().mean() < 1e-3
    # The rest is exact to what the mean's rounding does to xhat.
    error = (out["dx"].double() - want["dx"])[~switches].norm()
    assert error <= 5e-4 * want["terms of dx"].norm()


@PATHS
def test_constant_channels_give_the_bias_and_finite_gradients(tiling: Tiling) -> None:
    x, dy, weight, bias = arrays(1, 21, 4)
    x.copy_(torch.tensor([3.0, -1e5, 0.1, 0.0]))
    out = run(x, dy, weight, bias, tiling)
    expected = torch.nn.functional.leaky_relu(bias, SLOPE).expand_as(x)
    torch.testing.assert_close(out["y"], expected, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(out["dx"]).all()


@PATHS
def test_a_sample_has_the_same_bits_whatever_else_is_in_its_batch(tiling: Tiling) -> None:
    x, dy, weight, bias = arrays(2, 41, 12)
    together = run(x, dy, weight, bias, tiling)
    for n in range(2):
        alone = run(x[n : n + 1].clone(), dy[n : n + 1].clone(), weight, bias, tiling)
        for name, array in alone.items():
            assert torch.equal(array[0], together[name][n]), name


@PATHS
def test_a_nan_spoils_its_own_channel_alone(tiling: Tiling) -> None:
    x, dy, weight, bias = arrays(2, 50, 6)
    x[1, 33, 2] = float("nan")
    out = run(x, dy, weight, bias, tiling)
    spoilt = torch.zeros(2, 6, dtype=torch.bool)
    spoilt[1, 2] = True
    assert torch.equal(out["y"].isnan().all(1), spoilt)
    assert torch.equal(out["y"].isnan().any(1), spoilt)


@given(
    n=st.integers(1, 2), s=st.integers(1, 80), c=st.integers(1, 40), seed=st.integers(0, 2**16),
    tile=st.sampled_from([64, 256]), small=st.booleans(), tiles=st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=6, deadline=None, derandomize=True)
def test_equals_float64_however_the_volume_is_cut(
    n: int, s: int, c: int, seed: int, tile: int, small: bool, tiles: int
) -> None:
    tiling = Tiling(
        tile_elements=tile, programs_per_sample=3, min_tiles=tiles, max_tiles=5,
        small_places=1000 if small else 0, apply_tiles=tiles,
    )  # fmt: skip
    x, dy, weight, bias = arrays(n, s, c, seed=seed)
    assert_close(run(x, dy, weight, bias, tiling), reference(x, dy, weight, bias), 2e-5)
