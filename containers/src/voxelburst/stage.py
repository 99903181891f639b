"""Runs one stage: task document in, result document out, an error document and a non-zero exit on failure."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from . import contract, errors, host, storage
from .errors import StageError
from .progress import Progress
from .storage import Store

C = TypeVar("C")
R = TypeVar("R", bound=contract._Result)


class Stage:
    """What a stage's code is given: its task, its share of the cases, where its objects are, its progress."""

    def __init__(self, task: contract._Task, began_seconds_ago: float = 0.0) -> None:
        self.task = task
        self.artefacts = Store(task.artefacts_uri)
        self.dataset = Store(task.dataset_uri)
        index = os.environ.get("AWS_BATCH_JOB_ARRAY_INDEX")
        self.index = int(index) if index is not None else None
        self.started_at = datetime.now(UTC) - timedelta(seconds=began_seconds_ago)
        self._began = time.monotonic() - began_seconds_ago

    def cases(self, cls: type[C]) -> list[C]:
        """This array child's lines of the task's cases; all of them when the task is no array."""
        lines = list(self.artefacts.read_lines(self.task.cases_key))
        shards = getattr(self.task, "shards", 1)
        mine = lines if self.index is None else lines[self.index :: shards]
        return [contract.parse(cls, line, self.task.cases_key.rsplit("/", 1)[-1]) for line in mine]

    def plan(self) -> contract.Plan:
        key = self.task.plan_key  # type: ignore[attr-defined]
        return contract.parse(contract.Plan, self.artefacts.read_json(key), "plan.json")

    def progress(self, total: float, unit: str, *, speaks: bool = True) -> Progress:
        """``speaks``: False in the processes of a stage that work in step with another one, which says it."""
        return Progress(self.task.stage, self.task.task_id, self.index, total, unit, speaks=speaks)

    def name(self) -> str:
        """<taskId>, or <taskId>.<index> of an array child: as in lib/contracts/keys.ts."""
        return self.task.task_id if self.index is None else f"{self.task.task_id}.{self.index}"

    def key(self, folder: str, suffix: str) -> str:
        """A key of the run: key("infer", "scores.jsonl") is runs/<id>/infer/<taskId>.<index>.scores.jsonl."""
        return f"{self.task.run_prefix}{folder}/{self.name()}.{suffix}"

    def result(self, cls: type[R], **fields: Any) -> R:
        """The result of this stage: the common fields are filled in here, from clocks and the task."""
        return cls(
            stage=self.task.stage,
            run_id=self.task.run_id,
            task_id=self.task.task_id,
            index=self.index,
            input_hash=self.task.input_hash,
            version=self.task.version,
            started_at=self.started_at.isoformat(timespec="milliseconds"),
            seconds=round(time.monotonic() - self._began, 3),
            peak_memory_mi_b=host.peak_memory_mib(),
            **fields,
        )


def _load(task_uri: str, stage_name: str) -> contract._Task:
    try:
        document = json.loads(storage.open_uri(task_uri))
    except ValueError as cause:
        raise StageError(
            "TaskInvalid",
            f"The task document is not JSON: {cause}.",
            "Write the task again: resume the run.",
        ) from cause
    task = contract.parse(contract.TASKS[stage_name], document, "the task document")
    if task.stage != stage_name:
        raise StageError(
            "TaskOfAnotherStage",
            f"The task document is for {task.stage!r}, the stage started is {stage_name!r}.",
            "Start the stage that the task names.",
            field="stage",
            got=task.stage,
            allowed=stage_name,
        )
    return task


def execute(
    stage_name: str, run: Callable[[Any, Stage], Any], task_uri: str, *, began_seconds_ago: float = 0.0
) -> int:
    """Runs a stage's ``run(task, stage)`` on the task at a URI and writes its result.

    The result goes to runs/<id>/results/<name>.json and, for a stage with an output of its own, last of all
    to <outputPrefix>result.json, whose existence means that the output is complete.

    Args:
        began_seconds_ago: what the process took to get here. It is paid for and waited for like the rest.

    Returns:
        the exit code: 0, or the error's (1; 143 for a training that was stopped) after its document was
        written to runs/<id>/errors/<name>.json.
    """
    stage: Stage | None = None
    try:
        stage = Stage(_load(task_uri, stage_name), began_seconds_ago)
        result = run(stage.task, stage)
        if result is None:  # a rank of a distributed training that is not the first
            return 0
        document = contract.to_json(result)
        from . import schema

        schema.check("result", document, f"the result of {stage_name}", "ResultInvalid")
        stage.artefacts.write_json(f"{stage.task.run_prefix}results/{stage.name()}.json", document)
        prefix = getattr(stage.task, "output_prefix", None)
        if prefix:
            stage.artefacts.write_json(f"{prefix}result.json", document)
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as cause:
        error = errors.from_exception(cause)
        report_error(error, stage_name, stage)
        # The log keeps the stack; the CLI shows it with --debug only.
        traceback.print_exc(file=sys.stderr)
        return error.exit_code


def report_error(error: StageError, stage_name: str, stage: Stage | None) -> None:
    """Writes the error document to stdout (the log) and, where the task is known, to the run's errors."""
    where: dict[str, Any] = {"stage": stage_name}
    if stage:
        where["taskId"] = stage.task.task_id
        if stage.index is not None:
            where["index"] = stage.index
    document = error.to_document(**where)
    print(json.dumps({"type": "error", **document}), flush=True)
    if stage:
        try:
            stage.artefacts.write_json(f"{stage.task.run_prefix}errors/{stage.name()}.json", document)
        except OSError as second:  # a full disk cannot take the document; the log has it
            print(f"the error document could not be written: {second}", file=sys.stderr)
