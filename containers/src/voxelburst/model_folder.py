"""A model folder: model.json, what it names, and the checksums that hold them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from . import contract
from .contract import EngineFile, ModelFolder, Plan
from .errors import StageError
from .storage import Store

MODEL_FILE = "model.json"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in a folder, by name."""
    return {name: sha256_of(folder / name) for name in sorted(names)}


def of_plan(
    plan: Plan,
    *,
    name: str,
    version: str,
    run_id: str,
    fold: str,
    strategy: str,
    engines: list[EngineFile],
    files: dict[str, str],
) -> ModelFolder:
    """model.json of what was trained by a plan: what prediction needs of that, without the plan."""
    return ModelFolder(
        name=name,
        version=version,
        run_id=run_id,
        fold=fold,
        strategy=strategy,
        channels=plan.dataset.channels,
        labels=plan.dataset.labels,
        classes=plan.dataset.classes,
        network=plan.network,
        normalisation=plan.normalisation,
        transpose=plan.transpose,
        spacing_mm_zyx=plan.spacing_mm_zyx,
        patch=plan.patch,
        infer=plan.infer,
        engines=engines,
        files=files,
    )


def read(folder: Path) -> ModelFolder:
    """model.json of a folder, every file that it lists verified.

    Raises:
        StageError: ModelFolderMissing, DocumentInvalid, ModelFileMissing, ModelFileDamaged.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise StageError(
            "ModelFolderMissing",
            "The model folder has no model.json.",
            "Give the folder that compile wrote: compile/<hash>/ in the artefacts.",
            field="model",
        )
    try:
        document = json.loads(path.read_bytes())
    except ValueError as cause:
        raise StageError(
            "DocumentInvalid", f"model.json is not JSON: {cause}.", "Copy the model folder again."
        ) from cause
    model = contract.parse(ModelFolder, document, "model.json")
    needed = {entry.file for entry in model.engines if entry.file} - set(model.files)
    if needed:
        # A file without a checksum could be anybody's.
        raise _file_error("ModelFileUnlisted", sorted(needed)[0], "is used by an engine but has no checksum")
    for name, expected in model.files.items():
        if not (folder / name).is_file():
            raise _file_error("ModelFileMissing", name, "is missing from the model folder")
        if sha256_of(folder / name) != expected:
            raise _file_error("ModelFileDamaged", name, "differs from its checksum in model.json")
    return model


def _file_error(code: str, name: str, what: str) -> StageError:
    return StageError(
        code, f"{name} {what}.", "Copy the model folder again, as compile wrote it.", field=name
    )


def fetch(store: Store, prefix: str, into: Path) -> Path:
    """A local folder with the files of a model folder in a store: the store's own where that is a disk.

    Args:
        into: an empty folder, where the files are put when the store is elsewhere.
    """
    if store.is_local:
        return store.local(prefix)
    for name in store.names(prefix):
        (into / name).symlink_to(store.local(f"{prefix}{name}"))
    return into
