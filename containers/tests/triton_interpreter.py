"""Triton's kernels on the CPU: its interpreter is chosen by an environment variable that is read at import.

So what it executes are files that pytest does not collect by itself (interpreted_*.py), each run in a process
of its own by the test beside it, and each beginning with `use_interpreter`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_interpreted(file: Path) -> str:
    """Runs the tests of a file under the interpreter; what pytest said, when none failed."""
    process = subprocess.run(
        [sys.executable, "-m", "pytest", str(file), "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-2000:]
    return process.stdout


def use_interpreter() -> None:
    """To be called before a kernel runs.

    Triton 3.6's interpreter takes int() of arrays of shape (1,), which NumPy 2.4 refuses
    (triton-lang/triton#9171, mended after 3.6): this is the same mend.
    """
    assert os.environ.get("TRITON_INTERPRET") == "1", "run by the test beside it"
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch
