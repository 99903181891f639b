"""What holds for every test."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def subnormal_numbers() -> None:
    """Some extension modules switch a process to flushing subnormal numbers when they are loaded.

    Hypothesis draws such numbers, and a test must not depend on which others its process ran before.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
