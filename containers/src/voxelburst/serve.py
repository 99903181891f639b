"""SageMaker's transform contract: GET /ping, GET /execution-parameters, POST /invocations on port 8080.

A request is JSON Lines of records (SplitType Line with BatchStrategy SingleRecord sends one): volumes are
named by URI and fetched here, since a payload is limited to 100 MB. A record:

    {"caseId": "case-1", "image": "s3://bucket/a.nii.gz" or a list of one URI a channel,
     "mask": "s3://bucket/a-mask.nii.gz", "reference": "s3://bucket/a-label.nii.gz"}

caseId and reference may be left out; with a reference the answer has scores. A URI that ends in a slash is a
folder of DICOM. The answer has one line a record, in order: {"caseId", "mask", "windows", "seconds",
"classes", "meanDice"}, or {"caseId", "error": {code, message, remedy ...}}: one bad volume does not fail the
others of its transform job.

The model folder is /opt/ml/model (SAGEMAKER_BASE_DIR relocates it), the engine VOXELBURST_ENGINE or the
folder's own. /ping answers at once, with 503 until the model is loaded.

In a run, VOXELBURST_TASK is the URI of an infer task, and a record is {"shard": 0}: what a child of a Batch
array would do with that index is done here, by the same code in a process of its own, which fetches the
engine and the volumes and leaves the same masks, scores and results. The answer is {"shard": 0}. A shard that
fails is answered with 500, which fails its transform job; why is in its error document.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from . import errors, paths
from .errors import StageError

if TYPE_CHECKING:
    from .inference.remote import RemotePredictor

_DEFAULT_PORT = 8080
# A record is a few hundred bytes; SageMaker is told the same limit.
_MAX_PAYLOAD_MIB = 1
# A client that stops in the middle of its request is let go.
_SOCKET_SECONDS = 60
_FIELDS = ("caseId", "image", "mask", "reference")
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class _State:
    """Shared by the server's threads. Predictions are made one at a time: one fills the GPU or the cores."""

    def __init__(self) -> None:
        self.predictor: RemotePredictor | None = None
        self.failure: StageError | None = None
        self.shards = _Shards.of(os.environ)
        self.busy = threading.Lock()
        self.loaded = threading.Event()

    def load(self) -> None:
        """Imports and loads, seconds of work, while the server already answers pings."""
        if self.shards:  # each shard's process loads what it needs
            self.loaded.set()
            return
        try:
            from .inference.remote import RemotePredictor

            self.predictor = RemotePredictor(paths.model(), os.environ.get("VOXELBURST_ENGINE") or None)
        except Exception as cause:
            self.failure = errors.from_exception(cause)
        self.loaded.set()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_SECONDS

    def do_GET(self) -> None:
        if self.path == "/ping":
            state = self.server.state
            ready = state.loaded.is_set() and state.failure is None
            self._answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, b"")
        elif self.path == "/execution-parameters":
            self._json(
                HTTPStatus.OK,
                {
                    "MaxConcurrentTransforms": 1,
                    "BatchStrategy": "SINGLE_RECORD",
                    "MaxPayloadInMB": _MAX_PAYLOAD_MIB,
                },
            )
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "NotFound", f"There is no {self.path} here.")

    def do_POST(self) -> None:
        if self.path != "/invocations":
            self._refuse(HTTPStatus.NOT_FOUND, "NotFound", f"There is no {self.path} here.")
            return
        body = self._body()
        if body is None:
            return
        state = self.server.state
        state.loaded.wait()
        if state.shards:
            self._do_shard(state.shards, body)
            return
        if state.predictor is None:
            assert state.failure is not None
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": state.failure.to_document()})
            return
        try:
            records = parse_records(body)
        except StageError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": error.to_document()})
            return
        with state.busy:
            answers = [_answer_to(state.predictor, record) for record in records]
        text = "".join(json.dumps(answer) + "\n" for answer in answers)
        self._answer(HTTPStatus.OK, text.encode(), "application/jsonlines")

    def _do_shard(self, shards: _Shards, body: bytes) -> None:
        try:
            shard = parse_shard(body)
        except StageError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": error.to_document()})
            return
        with self.server.state.busy:
            code = shards.run(shard)
        if code != 0:
            message = f"Shard {shard} of the task ended with exit code {code}."
            remedy = "Read the shard's error document, or the job's log."
            failure = StageError("ShardFailed", message, remedy)
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": failure.to_document()})
            return
        self._answer(HTTPStatus.OK, (json.dumps({"shard": shard}) + "\n").encode(), "application/jsonlines")

    def _body(self) -> bytes | None:
        """The request's body, or None after an answer that refuses it."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            # Without a length the end of the body is unknown: the connection cannot be used again.
            self.close_connection = True
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "LengthRequired", "The request has no Content-Length.")
            return None
        if int(length) > _MAX_PAYLOAD_MIB << 20:
            self.close_connection = True
            message = f"The request has {length} bytes; allowed: {_MAX_PAYLOAD_MIB << 20}."
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PayloadTooLarge", message)
            return None
        return self.rfile.read(int(length))

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        remedy = "Send JSON Lines of records with the URIs of volumes to POST /invocations."
        self._json(status, {"error": StageError(code, message, remedy).to_document()})

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet: SageMaker pings every few seconds. What matters is in the answers."""


class _Server(ThreadingHTTPServer):
    """Waits for requests in flight when it is closed."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], state: _State) -> None:
        super().__init__(address, _Handler)
        self.state = state


class _Shards:
    """Runs shards of an infer task as a Batch array's children would."""

    def __init__(self, task_uri: str) -> None:
        self._command = [sys.executable, "-m", "voxelburst", "infer", "--task", task_uri]
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> _Shards | None:
        uri = environment.get("VOXELBURST_TASK")
        return cls(uri) if uri else None

    def run(self, index: int) -> int:
        """The exit code of the shard's process, whose progress goes to this one's stdout."""
        self._process = subprocess.Popen(
            self._command, env={**os.environ, "AWS_BATCH_JOB_ARRAY_INDEX": str(index)}
        )
        return self._process.wait()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()


def parse_shard(body: bytes) -> int:
    """The index of the one record of a request.

    Raises:
        StageError: RecordInvalid.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) != 1:
        raise _invalid(1, "the request", f"{len(lines)} records", "one record")
    try:
        given = json.loads(lines[0])
    except ValueError:
        raise _invalid(1, "the line", "no JSON", "a JSON object") from None
    shard = given.get("shard") if isinstance(given, dict) and set(given) == {"shard"} else None
    if not isinstance(shard, int) or isinstance(shard, bool) or shard < 0:
        raise _invalid(1, "the line", "no shard", '{"shard": an index from 0}')
    return shard


def parse_records(body: bytes) -> list[dict[str, Any]]:
    """The records of a request, ``image`` always a list, ``caseId`` always there.

    Raises:
        StageError: RecordInvalid, naming the line and the field.
    """
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise _invalid(1, "the request", "nothing", "at least one record")
    return [_record(number, line) for number, line in lines]


def _record(number: int, line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except ValueError:
        raise _invalid(number, "the line", "no JSON", "a JSON object") from None
    if not isinstance(given, dict):
        raise _invalid(number, "the line", "no object", "a JSON object")
    if unknown := sorted(set(given) - set(_FIELDS)):
        raise _invalid(number, unknown[0], "a field that is not known", ", ".join(_FIELDS))
    record = {"caseId": f"record-{number}", **given}
    if isinstance(record.get("image"), str):
        record["image"] = [record["image"]]
    images = record.get("image")
    if not isinstance(images, list) or not images or not all(map(_is_uri, images)):
        raise _invalid(number, "image", "no URI", "an s3:// or file:// URI, or a list of one a channel")
    if not _is_uri(record.get("mask")) or record["mask"].endswith("/"):
        raise _invalid(number, "mask", "no URI of an object", "the s3:// or file:// URI of the mask to write")
    if "reference" in record and not _is_uri(record["reference"]):
        raise _invalid(number, "reference", "no URI", "an s3:// or file:// URI")
    if not isinstance(record["caseId"], str) or not _CASE_ID.fullmatch(record["caseId"]):
        raise _invalid(number, "caseId", "no case id", "1 to 128 letters, digits, '.', '_' or '-'")
    return record


def _is_uri(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"(s3|file)://.", value) is not None


def _invalid(line: int, field: str, got: str, allowed: str) -> StageError:
    return StageError(
        "RecordInvalid",
        f"Line {line} of the request: {field} is {got}; allowed: {allowed}.",
        "Send one JSON object a line with image and mask.",
        field=field,
        got=got,
        allowed=allowed,
    )


def _answer_to(predictor: RemotePredictor, record: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"caseId": record["caseId"], **predictor.predict(record)}
    except Exception as cause:  # a record's fault is its answer; the server goes on
        error = errors.from_exception(cause)
        error.case_id = record["caseId"]
        return {"caseId": record["caseId"], "error": error.to_document()}


def main(_argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; requests in flight are finished first.

    Returns:
        0, or 1 when the model could not be loaded.
    """
    state = _State()
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or _DEFAULT_PORT)
    server = _Server(("", port), state)

    def stop(*_: object) -> None:
        if state.shards:
            state.shards.stop()
        # shutdown() waits for serve_forever(), which this very thread is in.
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    def load() -> None:
        state.load()
        if state.failure:
            stop()

    threading.Thread(target=load, name="load", daemon=True).start()
    print(f"listening on port {server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    if state.failure:
        raise state.failure
    return 0
