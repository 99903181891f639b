"""A case's own fault: it goes to quarantine with a code, and the run goes on without it."""

from __future__ import annotations

from ..errors import StageError


class Refusal(StageError):
    """A case that cannot be used.

    Everything else that is raised (a full disk, no memory) fails the stage: it is not the case's fault.

    Args:
        code: stable, PascalCase; docs name it.
        message: one sentence: what is wrong. Never a file name, UID or patient's identity.
        remedy: what to do about it.
        got: what was found.
        allowed: what is allowed.
    """

    got: str
    allowed: str

    def __init__(self, code: str, message: str, remedy: str, *, got: str, allowed: str) -> None:
        super().__init__(code, message, remedy, got=got, allowed=allowed)
