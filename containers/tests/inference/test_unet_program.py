"""Runs interpreted_program.py, which Triton's interpreter needs a process of its own for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_kernels_compute_the_network_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    file = Path(__file__).with_name("interpreted_program.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(file)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "passed" in done.stdout and "skipped" not in done.stdout
