"""DALI, imported when it is first used: its import takes a second, and few processes need it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def modules() -> Any:
    """.fn, .types, .math, .pipeline_def: untyped, as DALI makes their members at run time."""
    from nvidia.dali import fn, math, pipeline_def, types

    return SimpleNamespace(fn=fn, math=math, pipeline_def=pipeline_def, types=types)
