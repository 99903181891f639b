"""Progress as JSON Lines on stdout (lib/contracts/progress.ts)."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

_SECONDS_BETWEEN = 0.5


class Progress:
    """Counts units of work and says so at most twice a second, and at the end.

    The rate is units a second since the first update: what was skipped does not count as speed.
    """

    def __init__(
        self, stage: str, task_id: str, index: int | None, total: float, unit: str, *, speaks: bool = True
    ) -> None:
        self._speaks = speaks
        self._fixed = {"type": "progress", "stage": stage, "taskId": task_id}
        self._index = index
        self.total = total
        self._unit = unit
        self._done = 0.0
        self._worked = 0.0
        self._began = time.monotonic()
        self._last = 0.0

    def update(self, done: float, message: str | None = None, *, skipped: bool = False) -> None:
        """``done`` units are finished now; ``skipped`` when the step from before cost no work."""
        if not skipped:
            self._worked += done - self._done
        self._done = done
        now = time.monotonic()
        is_soon = now - self._last < _SECONDS_BETWEEN and done < self.total and message is None
        if is_soon or not self._speaks:
            return
        self._last = now
        event = {
            **self._fixed,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "done": done,
            "total": self.total,
            "unit": self._unit,
            "rate": round(self._worked / max(now - self._began, 1e-9), 4),
        }
        if self._index is not None:
            event["index"] = self._index
        if message is not None:
            event["message"] = message
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
