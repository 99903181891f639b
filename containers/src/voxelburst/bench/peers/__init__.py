"""What users would pick instead, timed on the same machine, each in an environment of its own.

A peer is one file of this folder, run by its environment's interpreter: it imports nothing of voxelburst, is
given one JSON object as its argument and prints its rows as one JSON array on its last line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...errors import StageError

# What is installed beside this environment's PyTorch: both sides of a ratio compute with the same one.
REQUIREMENTS = {
    "nnunet": ("nnunetv2==2.8.1",),
    "monai": ("monai==1.6.1", "nibabel"),
}
_NAMES_IN = {"nnunet": "nnunetv2", "monai": "monai"}
# nnU-Net's planning alone takes half a minute.
_LIMIT_SECONDS = 3600.0


def peer_rows(
    home: Path, name: str, request: dict[str, Any], say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """The rows of a peer.

    Raises:
        StageError: PeerMissing, where its environment cannot be made; PeerFailed, with the end of its log.
    """
    python = environment(home, name, say)
    log = home / f"{name}.log"
    with log.open("w") as file:
        command = [str(python), str(Path(__file__).with_name(f"{name}_peer.py")), json.dumps(request)]
        try:
            ended = subprocess.run(
                command,
                env=_its_own(),
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as cause:
            raise _failed(name, f"it took more than {_LIMIT_SECONDS:.0f} seconds", log) from cause
    lines = ended.stdout.strip().splitlines()
    if ended.returncode != 0 or not lines:
        raise _failed(name, f"it ended with {ended.returncode}", log)
    rows: list[dict[str, Any]] = json.loads(lines[-1])
    return [{"kind": "peer", "peer": name, **row} for row in rows]


def environment(home: Path, name: str, say: Callable[[str], None]) -> Path:
    """The interpreter of a peer's environment, made at the first call: pip needs the network for it then.

    Raises:
        StageError: PeerMissing.
    """
    folder = home / name
    python = folder / "bin" / "python"
    if not _has(python, _NAMES_IN[name]):
        say(f"making an environment for {name}: {', '.join(REQUIREMENTS[name])}")
        venv.create(folder, with_pip=True, symlinks=True)
        _share_this_environment(folder)
        ended = _install(python, REQUIREMENTS[name])
        if ended.returncode != 0 or not _has(python, _NAMES_IN[name]):
            end = (ended.stdout.strip().splitlines() or ["pip said nothing"])[-1]
            raise StageError(
                "PeerMissing",
                f"{name} cannot be installed beside voxelburst: {end[:200]}.",
                f"Give the machine a network, or install {REQUIREMENTS[name][0]} into the folder {name} of "
                "the peers' environments.",
                field="--compare",
                got=name,
            )
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """pip, held to this environment's PyTorch: it would bring a newer one for a package that allows it."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraint:
        constraint.write(f"torch=={torch.__version__.split('+')[0]}\n")
        constraint.flush()
        command = [str(python), "-m", "pip", "install", "-q", "-c", constraint.name, *requirements]
        return subprocess.run(
            command,
            env=_its_own(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _its_own() -> dict[str, str]:
    """The variables of this process but the path of its packages, which would stand before the peer's."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _share_this_environment(folder: Path) -> None:
    """PyTorch and its CUDA libraries are gigabytes: the peer sees this environment's behind its own.

    As a site folder, so that its .pth files count: from Python 3.12 on, setuptools' brings distutils, which
    nnU-Net imports.
    """
    (site,) = (folder / "lib").glob("python*/site-packages")
    shared = sysconfig.get_paths()["purelib"]
    (site / "voxelburst-environment.pth").write_text(f"import site; site.addsitedir({shared!r})\n")


def _has(python: Path, module: str) -> bool:
    if not python.exists():
        return False
    ended = subprocess.run(
        [str(python), "-c", f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"],
        env=_its_own(),
        check=False,
    )
    return ended.returncode == 0


def _failed(name: str, why: str, log: Path) -> StageError:
    print("\n".join(log.read_text().splitlines()[-30:]), file=sys.stderr)
    return StageError(
        "PeerFailed",
        f"The peer {name} could not be timed: {why}.",
        "Read the end of its log, which is in the bench's log.",
        field="--compare",
        got=name,
    )
