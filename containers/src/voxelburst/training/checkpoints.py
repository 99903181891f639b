"""Checkpoints of a training: whole or absent, the newest wins.

Under SageMaker the folder is its checkpoint folder, which the service keeps alike in S3; elsewhere it lies in
the artefacts, below the training's output.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

from .. import paths
from ..errors import StageError
from ..storage import Store

_NAME = re.compile(r"^step-(\d{9})\.pt$")


class Checkpoints:
    """Two are kept: if the machine goes while one is written, the one before it is whole."""

    KEPT = 2

    def __init__(self, artefacts: Store, prefix: str) -> None:
        """prefix: checkpoints/ of the training's output, used where there is no SageMaker."""
        self._store = None if paths.in_training_job() or artefacts.is_local else artefacts
        self._prefix = prefix
        if paths.in_training_job():
            self._folder = paths.checkpoints()
        elif artefacts.is_local:
            self._folder = artefacts.local(prefix)
        else:
            self._folder = Path(tempfile.gettempdir()) / f"voxelburst-checkpoints-{os.getpid()}"

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after so many steps; a name that exists is whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{step:09d}.pt"
        staged = self._folder / f".{name}.{os.getpid()}"
        try:
            with staged.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(self._folder / name)
        finally:
            staged.unlink(missing_ok=True)
        if self._store:
            self._store.upload(self._folder / name, f"{self._prefix}{name}")
        for old in self._names()[: -self.KEPT]:
            (self._folder / old).unlink(missing_ok=True)

    def newest(self, device: torch.device) -> dict[str, Any] | None:
        """The state to go on from, read without running code from it; None at the start.

        Raises:
            StageError: CheckpointUnreadable, naming its step.
        """
        names = self._names()
        if self._store:
            names = sorted(n for n in self._store.names(self._prefix) if _NAME.match(n))
        if not names:
            return None
        path = self._store.local(f"{self._prefix}{names[-1]}") if self._store else self._folder / names[-1]
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as cause:
            raise StageError(
                "CheckpointUnreadable",
                f"The checkpoint {names[-1]} cannot be read.",
                "Delete it from the training's checkpoints: the one before it is taken.",
                got=names[-1],
            ) from cause

    def _names(self) -> list[str]:
        return sorted(p.name for p in self._folder.glob("step-*.pt") if _NAME.match(p.name))
