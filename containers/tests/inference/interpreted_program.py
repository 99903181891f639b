"""The U-Net's Triton kernels against PyTorch, executed by Triton's interpreter on the CPU.

Not collected by itself: Triton reads TRITON_INTERPRET when it is imported, so test_unet_program.py runs this
file in a process of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from triton_interpreter import use_interpreter

from voxelburst.contract import Network
from voxelburst.engines import unet_program
from voxelburst.engines.unet_program import Program
from voxelburst.engines.unet_tilings import Tiling
from voxelburst.engines.unet_weights import UNet, unet_of
from voxelburst.models import build

use_interpreter()

CPU = torch.device("cpu")
ISOTROPIC = {"features": [16, 32], "strides": [(1, 1, 1), (2, 2, 2)], "kernels": [(3, 3, 3)] * 2}
ANISOTROPIC = {
    "features": [16, 16, 32],
    "strides": [(1, 1, 1), (1, 2, 2), (2, 2, 2)],
    "kernels": [(1, 3, 3), (3, 3, 3), (3, 3, 3)],
}


def network(channels: int = 1, **lists: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build(
        Network(
            model="unet3d", input_channels=channels, output_classes=3, deep_supervision_weights=[1.0], **lists
        )
    ).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:  # not the identity that an untrained norm is
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def layers(model: torch.nn.Module, lists: dict[str, Any]) -> UNet:
    return unet_of(model.state_dict(), lists["strides"])


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def logits_of(program: Program, windows: torch.Tensor) -> torch.Tensor:
    program.windows_ncdhw[: len(windows)] = windows
    program.run(len(windows))
    return program.logits_nkdhw[: len(windows)].clone()


@pytest.mark.parametrize(
    ("lists", "patch", "channels"),
    [(ISOTROPIC, (4, 6, 8), 1), (ANISOTROPIC, (2, 8, 8), 2)],
    ids=["isotropic", "anisotropic, two channels"],
)
def test_computes_what_the_network_computes(lists: dict[str, Any], patch: Any, channels: int) -> None:
    model = network(channels, **lists)
    windows = torch.randn(2, channels, *patch)
    program = Program(layers(model, lists), patch, 2, "fp16", CPU)
    assert relative(logits_of(program, windows), model(windows)) < 3e-3
    # Fewer windows than the batch, after others: what those left in the buffers must not be read.
    assert relative(logits_of(program, windows[1:]), model(windows[1:])) < 3e-3


def test_every_tiling_gives_the_same() -> None:
    model = network(**ISOTROPIC)
    program = Program(layers(model, ISOTROPIC), (2, 4, 16), 1, "fp16", CPU)
    logits_of(program, torch.randn(1, 1, 2, 4, 16))
    launches, written = dict(program.steps), {volume.name: volume for volume in program.written}
    by_pairs = 0
    for key, (default, *others) in program.tunable():
        step = program.keys[key]

        def stored(tiling: Tiling, key: str = key, step: str = step) -> torch.Tensor:
            """What the norm behind the convolution stores: of its values and of its sums."""
            program.with_tilings({key: tiling})
            launches[step](1)
            launches[f"{step}.out"](1)
            return written[f"{step}.out"].inside(1).float()

        expected = stored(default).clone()
        for tiling in others:
            assert relative(stored(tiling), expected) < 1e-3, (key, tiling)
            by_pairs += tiling.pairs
    assert by_pairs >= 4


@pytest.mark.parametrize(("precision", "close"), [("fp8", 0.2), ("int8", 0.1)])
def test_eight_bits_stay_close_to_the_network(precision: str, close: float) -> None:
    model = network(**ISOTROPIC)
    windows = torch.randn(1, 1, 4, 8, 8)
    wide = Program(layers(model, ISOTROPIC), (4, 8, 8), 1, "fp16", CPU)
    scales = wide.amplitudes([windows])
    assert all(float(scale.max()) > 0 for scale in scales.values())
    program = Program(layers(model, ISOTROPIC), (4, 8, 8), 1, precision, CPU, scales)
    error = relative(logits_of(program, windows), model(windows))
    assert 1e-4 < error < close


def test_borders_of_all_buffers_stay_zero() -> None:
    model = network(**ISOTROPIC)
    program = Program(layers(model, ISOTROPIC), (4, 4, 8), 1, "fp16", CPU)
    logits_of(program, 5 + torch.randn(1, 1, 4, 4, 8))
    for volume in program.written:
        whole = volume.tensor[: volume.grid.places, volume.at : volume.at + volume.channels].clone()
        d, h, w = volume.grid.shape_dhw
        whole = whole.reshape(d + 2, h + 2, w + 2, -1)
        whole[1:-1, 1:-1, 1:-1] = 0
        assert not whole.any(), volume.name


def test_says_what_it_cannot_run() -> None:
    narrow = network(features=[6, 12], strides=[(1, 1, 1), (2, 2, 2)], kernels=[(3, 3, 3)] * 2)
    assert "multiples of 16 channels" in str(unet_program.unsupported(layers(narrow, ISOTROPIC), "fp16"))
    wide = layers(network(**ISOTROPIC), ISOTROPIC)
    assert unet_program.unsupported(wide, "fp16") is None
    assert "multiples of 32 channels" in str(unet_program.unsupported(wide, "int8"))
