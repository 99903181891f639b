"""The `triton` loader without a GPU: its kernels interpreted, and compiled for the GPUs that they are for."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from triton_interpreter import run_interpreted


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_equals_the_torch_loader_under_tritons_interpreter() -> None:
    passed = re.search(
        r"(\d+) passed", run_interpreted(Path(__file__).with_name("interpreted_augmentation.py"))
    )
    assert passed and int(passed[1]) >= 11
