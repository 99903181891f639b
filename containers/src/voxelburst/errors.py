"""The error that a stage ends with: a stable code, one sentence, what to do."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

# What C's fwrite leaves of a full disk when NumPy writes an array: an OSError without a number.
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")


class StageError(Exception):
    """A failure that a person can act on.

    Args:
        code: stable, PascalCase, for example ``LabelGeometryDiffers``.
        message: one sentence: what is wrong. Never a patient's identity or a source path.
        remedy: what to do about it.
        field: path of the field at fault, for example ``train.steps``.
        got: what was found.
        allowed: what is allowed.
        case_id: the case at fault.
        exit_code: of the process that ends with it.
    """

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str,
        *,
        field: str | None = None,
        got: str | None = None,
        allowed: str | None = None,
        case_id: str | None = None,
        exit_code: int = 1,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.field = field
        self.got = got
        self.allowed = allowed
        self.case_id = case_id
        self.exit_code = exit_code

    def to_document(self, **where: Any) -> dict[str, Any]:
        """The error document (lib/contracts/error.ts); ``where`` adds stage, taskId and index."""
        document = {
            "schema": 1,
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "got": self.got,
            "allowed": self.allowed,
            "remedy": self.remedy,
            "caseId": self.case_id,
            **where,
        }
        return {name: value for name, value in document.items() if value is not None}


def from_exception(error: BaseException) -> StageError:
    """The coded error for what a library or the system raised, named by what a person can do about it."""
    if isinstance(error, StageError):
        return error
    text = str(error).strip().splitlines()
    first = (text[0] if text else type(error).__name__)[:300]
    if _is_disk_full(error):
        return StageError(
            "DiskFull",
            "The disk that holds the run's data is full, or its quota is used up.",
            "Free some space, or move .voxelburst to a larger disk, and resume the run.",
        )
    if isinstance(error, ModuleNotFoundError):
        return StageError(
            "PythonPackageMissing",
            f"The Python package {error.name!r} is not installed in this environment.",
            "Delete .venv and run `npm run setup`; in a container, rebuild the image of containers/images.",
            got=str(error.name),
        )
    if isinstance(error, MemoryError) or "out of memory" in first.lower():
        return StageError(
            "OutOfMemory",
            f"The stage needs more memory than there is: {first}.",
            "Lower plan.memoryGiB, plan.batch or model.width in the recipe, or use a larger machine.",
        )
    if isinstance(error, OSError) and error.errno:
        first = os.strerror(error.errno)  # without the path, which may name a patient
    return StageError(
        "StageFailed",
        f"{type(error).__name__}: {first}",
        "Read the stage's log (`voxelburst logs`); run with --debug for the stack trace.",
    )


def _is_disk_full(error: BaseException) -> bool:
    if not isinstance(error, OSError):
        return False
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or bool(_SHORT_WRITE.match(str(error)))
