"""A container without an engine: the Dockerfile's own entry point and environment, in a process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import torch

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "containers" / "images" / "gpu.Dockerfile").read_text()
# Where the Dockerfile copies things to, and where they are here.
_PLACES = {
    "/opt/voxelburst/src": ROOT / "containers" / "src",
    "/opt/voxelburst/schema": ROOT / "lib" / "contracts" / "schema",
}


def entry_point() -> list[str]:
    """Behind NVIDIA's entry point, which prepares the environment and then starts what follows it."""
    match = re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert match
    nvidia, python, *arguments = json.loads(match[1])
    assert nvidia.endswith("nvidia_entrypoint.sh") and python == "python"
    return [sys.executable, *arguments]


def environment() -> dict[str, str]:
    """The Dockerfile's ENV. A PyTorch without CUDA is not the image's: its matrix is left out here."""
    lines = re.search(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    assert lines
    given = dict(pair.split("=", 1) for pair in lines[1].replace("\\\n", " ").split())
    if torch.version.cuda is None:
        del given["VOXELBURST_IMAGE"]
    return {name: str(_PLACES.get(value, value)) for name, value in given.items()}


def start(command: list[str], output: IO[str] | int = subprocess.PIPE, **variables: str) -> subprocess.Popen:
    """Starts a container with a service's command and environment, and nothing else of this process's."""
    own = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return subprocess.Popen(
        [*entry_point(), *command],
        env={**own, **environment(), "OMP_NUM_THREADS": "1", **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def documents(output: str) -> list[dict[str, Any]]:
    """The JSON objects among the lines that a container has printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
