"""Seeded phantom datasets: CT-like volumes with an organ and a lesion in it, and planted bad cases."""

from .command import main

__all__ = ["main"]
