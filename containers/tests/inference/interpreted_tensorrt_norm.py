"""The norm of TensorRT's plugin in each pair of layouts, against its definition, in Triton's interpreter.

Not collected by itself: test_tensorrt_norm.py runs it in a process of its own. Tiles are tiny, so that small
arrays take many tiles and parts.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from triton_interpreter import use_interpreter

from voxelburst.engines.tensorrt_norm import Norm
from voxelburst.kernels.norm_activation_triton import DEFAULT, Tiling

use_interpreter()

EPS, SLOPE = 1e-5, 0.01
SMALL_TILES = Tiling(tile_elements=256, programs_per_sample=3, min_tiles=1, max_tiles=3, apply_tiles=2)
GUARD = 16


def into(volume_nsc: torch.Tensor, beside: int) -> torch.Tensor:
    """(n, s, c) as it lies in the memory of a layout of TensorRT: (n, c / V, s, V)."""
    samples, places, channels = volume_nsc.shape
    return volume_nsc.reshape(samples, places, channels // beside, beside).transpose(1, 2).contiguous()


def out_of(memory: torch.Tensor, shape: tuple[int, int, int], beside: int) -> torch.Tensor:
    samples, places, channels = shape
    return memory.view(samples, channels // beside, places, beside).transpose(1, 2).reshape(shape)


def computed(
    x_nsc: torch.Tensor, beside: int, beside_out: int, inverse: float, tiling: Tiling
) -> tuple[torch.Tensor, torch.Tensor]:
    samples, places, channels = x_nsc.shape
    generator = torch.Generator().manual_seed(channels)
    weight, bias = torch.randn(2, channels, generator=generator).unbind()
    norm = Norm(
        samples=samples, places=places, channels=channels, channels_beside=beside,
        channels_beside_out=beside_out, eps=EPS, slope=SLOPE, inverse=inverse, tiling=tiling,
    )  # fmt: skip
    of_parts, of_statistics = norm.scratch_floats
    sizes = [of_parts, of_parts, of_statistics, of_statistics]
    starts = [pointer.address // 4 for pointer in norm.scratch(0)]
    memory = torch.full((norm.scratch_bytes // 4 + GUARD,), float("nan"))
    scratch = [memory[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    assert starts[-1] + sizes[-1] == norm.scratch_bytes // 4
    dtype = torch.float16 if inverse == 1.0 else torch.int8
    y = torch.full((x_nsc.numel() + GUARD,), 99, dtype=dtype)
    for launch in norm.launches(into(x_nsc, beside), y, weight, bias, scratch):
        launch.run()
    assert (y[-GUARD:] == 99).all() and memory[-GUARD:].isnan().all(), "written outside its bounds"
    want = nn.functional.instance_norm(
        x_nsc.double().transpose(1, 2), weight=weight.double(), bias=bias.double(), eps=EPS
    )
    want = nn.functional.leaky_relu(want, SLOPE).transpose(1, 2)
    return out_of(y[:-GUARD], (samples, places, channels), beside_out), want


def volume(samples: int, places: int, channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(places)
    spread = torch.rand(1, 1, channels, generator=generator) * 4 + 0.1
    return (torch.randn(samples, places, channels, generator=generator) * spread + 0.7 * spread).half()


@pytest.mark.parametrize("tiling", [SMALL_TILES, DEFAULT], ids=["many parts", "as it runs"])
@pytest.mark.parametrize(
    ("shape", "beside", "beside_out"),
    [((2, 75, 8), 8, 8), ((1, 343, 40), 40, 40), ((2, 60, 64), 32, 32), ((2, 130, 96), 96, 32)],
)
def test_the_norm_in_every_layout_is_the_definition_to_half_precision(
    shape: tuple[int, int, int], beside: int, beside_out: int, tiling: Tiling
) -> None:
    got, want = computed(volume(*shape), beside, beside_out, 1.0, tiling)
    torch.testing.assert_close(got.double(), want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("beside", [32, 64])
def test_eight_bits_are_the_value_in_steps_rounded_and_held(beside: int) -> None:
    inverse = 127 / 2.0
    got, want = computed(volume(2, 90, 64), beside, 32, inverse, SMALL_TILES)
    steps = (want * inverse).clamp(-127, 127)
    assert (got == 127).any(), "nothing saturates: the test is too tame"
    assert float((got.double() - steps).abs().max()) <= 0.5 + 1e-3
