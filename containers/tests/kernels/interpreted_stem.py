"""The first convolution's kernels against PyTorch's convolution, executed by Triton's interpreter on the CPU.

Not collected by itself: Triton reads TRITON_INTERPRET when it is imported, so test_stem.py runs this file in
a process of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from triton_interpreter import use_interpreter

from voxelburst.kernels import stem_triton

use_interpreter()


@pytest.fixture(autouse=True)
def poisoned_memory():
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "space"),
    [(1, 32, (3, 3, 3), (5, 7, 9)), (4, 20, (1, 3, 3), (3, 9, 6)), (2, 40, (3, 3, 3), (1, 6, 5))],
)
def test_output_and_gradient_of_the_weights_are_the_convolutions(
    inputs: int, outputs: int, kernel: tuple[int, int, int], space: tuple[int, int, int], monkeypatch: Any
) -> None:
    monkeypatch.setattr(stem_triton, "_PROGRAMS", 2)  # several tiles a program
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, inputs, *space, generator=generator)
    weight = torch.randn(outputs, inputs, *kernel, generator=generator)
    dy = torch.randn(2, outputs, *space, generator=generator)
    padding = [size // 2 for size in kernel]

    x_ndhwc, dy_ndhwo = (t.permute(0, 2, 3, 4, 1).contiguous() for t in (x, dy))
    y_ndhwo = torch.full((2, *space, outputs), float("nan"))
    stem_triton.forward(x_ndhwc, weight, y_ndhwo)
    dweight = stem_triton.weights(x_ndhwc, dy_ndhwo, weight)

    y = torch.nn.functional.conv3d(x.double(), weight.double(), padding=padding)
    expected = torch.nn.grad.conv3d_weight(x.double(), list(weight.shape), dy.double(), padding=padding)
    torch.testing.assert_close(y_ndhwo.permute(0, 4, 1, 2, 3).double(), y, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(dweight.double(), expected, rtol=1e-5, atol=1e-4)
