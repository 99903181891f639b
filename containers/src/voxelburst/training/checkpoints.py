"""Checkpoints of a training: whole or absent, the newest wins.

Under SageMaker the folder is its checkpoint folder, which the service keeps alike in S3; elsewhere it lies in
the artefacts, below the training's output.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import torch

from .. import paths
from ..errors import StageError
from ..storage import Store

# Written in turn: one is whole whatever happens to the other, and a bucket does not fill with old ones.
SLOTS = ("checkpoint-0.pt", "checkpoint-1.pt")


class Checkpoints:
    """States of a training in two slots."""

    def __init__(self, artefacts: Store, prefix: str) -> None:
        """prefix: checkpoints/ of the training's output, used where there is no SageMaker."""
        self._store: Store | None = None
        self._prefix = prefix
        if paths.in_training_job():
            self._folder = paths.checkpoints()
        elif artefacts.is_local:
            self._folder = artefacts.local(prefix)
        else:
            self._store = artefacts
        self._next = 0

    def save(self, state: dict[str, Any]) -> None:
        """Writes a state into the slot of the older one, which is replaced at once or not at all.

        Raises:
            OSError: the disk is full.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)  # straight to a file, it would hide the system's error
        body = buffer.getbuffer()
        name = SLOTS[self._next]
        if self._store:
            self._store.write(f"{self._prefix}{name}", bytes(body))
        else:
            _replace(self._folder / name, body)
        self._next = 1 - self._next

    def newest(self) -> dict[str, Any] | None:
        """The state to go on from, on the CPU, read without running code from it; None at the start.

        Raises:
            StageError: CheckpointUnreadable, when there are some and none can be read.
        """
        found: dict[int, dict[str, Any]] = {}
        damaged = []
        for slot, name in enumerate(SLOTS):
            body = self._read(name)
            if body is None:
                continue
            try:
                found[slot] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
            except Exception as cause:
                damaged.append(name)
                print(
                    f"{name} cannot be read ({type(cause).__name__}): the other one is tried", file=sys.stderr
                )
        if not found:
            if not damaged:
                return None
            raise StageError(
                "CheckpointUnreadable",
                "No checkpoint of this training can be read.",
                "Delete the checkpoints below the training's output and resume the run: it starts again.",
                got=", ".join(damaged),
            )
        newest = max(found, key=lambda slot: found[slot]["step"])
        self._next = 1 - newest
        return found[newest]

    def _read(self, name: str) -> bytes | None:
        if self._store:
            key = f"{self._prefix}{name}"
            return self._store.read(key) if self._store.exists(key) else None
        path = self._folder / name
        return path.read_bytes() if path.exists() else None


def _replace(path: Path, body: memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staged.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
