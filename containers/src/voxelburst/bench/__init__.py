"""Timed rows of the benchmark ladder: `python -m voxelburst bench`, which `voxelburst bench` starts."""

from .command import main

__all__ = ["main"]
