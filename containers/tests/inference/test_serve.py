"""SageMaker's transform contract over real HTTP, with the server in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from trained_dataset import TrainedDataset, digest, engine_prefix

from voxelburst import serve
from voxelburst.errors import StageError

PACKAGE = Path(__file__).parents[2] / "src"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    def __init__(self, base: Path, **variables: str) -> None:
        self.port = free_port()
        environment = {
            "PYTHONPATH": str(PACKAGE),
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            **variables,
        }
        # SageMaker starts the image's entry point with `serve`; `infer --serve` is the same.
        command = [sys.executable, "-m", "voxelburst", "infer", "--serve"]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def wait(self, status: int, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                if self.call("GET", "/ping")[0] == status:
                    return
            except ConnectionRefusedError:
                pass
            assert time.monotonic() < until and self.process.poll() is None
            time.sleep(0.05)

    def end(self, by: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(by)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err


@pytest.fixture(scope="module")
def base(compiled: TrainedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SageMaker's /opt/ml, with the model folder where SageMaker unpacks it."""
    base = tmp_path_factory.mktemp("opt-ml")
    shutil.copytree(compiled.store.local(engine_prefix("onnxruntime")), base / "model")
    return base


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    server = Server(base)
    try:
        server.wait(200)
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def record(compiled: TrainedDataset, out: Path, case_id: str = "case-d", **fields) -> dict:
    root = f"{compiled.store.root_uri}ingest/{digest(case_id)}/"
    found = {
        "caseId": case_id,
        "image": f"{root}image-0.nii.gz",
        "mask": f"{out.as_uri()}/{case_id}-mask.nii.gz",
        "reference": f"{root}label.nii.gz",
        **fields,
    }
    return {name: value for name, value in found.items() if value is not None}


def lines(*records: dict) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in records).encode()


def test_answers_pings_at_once_and_with_200_when_the_model_is_there(base: Path) -> None:
    server = Server(base)
    began = time.monotonic()
    try:
        server.wait(
            503, seconds=2 + 3
        )  # Python's own start on a busy machine comes on top of the two seconds
        server.wait(200)
        ready = time.monotonic()
        for _ in range(5):
            asked = time.monotonic()
            assert server.call("GET", "/ping") == (200, b"")
            assert time.monotonic() - asked < 2
        assert ready > began
        assert server.end()[0] == 0
    finally:
        server.process.kill()
        server.process.communicate()


def test_says_how_it_wants_to_be_called(server: Server) -> None:
    status, body = server.call("GET", "/execution-parameters")
    parameters = json.loads(body)
    assert status == 200
    assert parameters == {
        "MaxConcurrentTransforms": 1,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 1,
    }


def test_writes_a_mask_and_answers_with_its_scores(
    server: Server, compiled: TrainedDataset, tmp_path: Path
) -> None:
    status, body = server.call("POST", "/invocations", lines(record(compiled, tmp_path)))
    assert status == 200
    (answer,) = [json.loads(line) for line in body.splitlines()]
    assert (answer["caseId"], answer["mask"]) == ("case-d", record(compiled, tmp_path)["mask"])
    assert [one["class"] for one in answer["classes"]] == ["bright", "dark"]
    assert answer["meanDice"] > 0.6 and answer["windows"] >= 1 and answer["seconds"] > 0
    mask = nib.load(tmp_path / "case-d-mask.nii.gz")
    image = nib.load(compiled.store.local(f"ingest/{digest('case-d')}/image-0.nii.gz"))
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)


def test_answers_each_record_on_its_line_and_a_bad_one_with_its_error(
    server: Server, compiled: TrainedDataset, tmp_path: Path
) -> None:
    missing = record(compiled, tmp_path, "case-c", image=f"{tmp_path.as_uri()}/nowhere.nii.gz")
    plain = record(compiled, tmp_path, "case-b", reference=None, caseId=None)
    status, body = server.call("POST", "/invocations", lines(missing, plain))
    assert status == 200
    answers = [json.loads(line) for line in body.splitlines()]
    assert [answer["caseId"] for answer in answers] == ["case-c", "record-2"]
    assert answers[0]["error"]["code"] == "ImageMissing" and answers[0]["error"]["caseId"] == "case-c"
    assert "classes" not in answers[1] and answers[1]["windows"] == 2
    assert (tmp_path / "case-b-mask.nii.gz").exists() and not (tmp_path / "case-c-mask.nii.gz").exists()


def test_refuses_what_is_too_large_without_reading_it(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Length", str(200 << 20))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"]["code"] == "PayloadTooLarge"
    connection.close()
    assert server.call("GET", "/ping")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/invocations", b"not json\n", 400, "RecordInvalid"),
        ("POST", "/invocations", b"\n\n", 400, "RecordInvalid"),
        ("POST", "/elsewhere", b"{}", 404, "NotFound"),
        ("GET", "/elsewhere", None, 404, "NotFound"),
    ],
)
def test_refuses_other_requests_by_code(server: Server, method, path, body, status, code) -> None:
    found, answer = server.call(method, path, body)
    assert (found, json.loads(answer)["error"]["code"]) == (status, code)


def test_answers_pings_during_an_invocation_and_finishes_it_after_sigterm(
    base: Path, compiled: TrainedDataset, tmp_path: Path
) -> None:
    server = Server(base)
    try:
        server.wait(200)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        many = [record(compiled, tmp_path, "case-d", caseId=f"copy-{i}") for i in range(20)]
        connection.request("POST", "/invocations", lines(*many))
        asked = time.monotonic()
        assert server.call("GET", "/ping")[0] == 200
        assert time.monotonic() - asked < 2
        server.process.send_signal(signal.SIGTERM)
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(answer.read().splitlines()) == 20
        connection.close()
        assert server.process.wait(60) == 0
    finally:
        server.process.kill()
        server.process.communicate()


def test_a_model_that_cannot_be_loaded_ends_the_server_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    server = Server(tmp_path)
    out, _ = server.process.communicate(timeout=120)
    assert server.process.returncode == 1
    assert json.loads(out.splitlines()[-1])["code"] == "ModelFolderMissing"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": None}, "image"),
        ({"image": []}, "image"),
        ({"image": "/etc/passwd"}, "image"),
        ({"image": ["s3://b/a.nii.gz", 3]}, "image"),
        ({"mask": None}, "mask"),
        ({"mask": "s3://bucket/folder/"}, "mask"),
        ({"reference": "label.nii.gz"}, "reference"),
        ({"caseId": "../up"}, "caseId"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_record_that_is_wrong_names_line_and_field(change: dict, field: str) -> None:
    good = {"image": "s3://b/a.nii.gz", "mask": "s3://b/m.nii.gz"}
    bad = {name: value for name, value in {**good, **change}.items() if value is not None}
    with pytest.raises(StageError) as refused:
        serve.parse_records(lines(good, bad))
    assert (refused.value.code, refused.value.field) == ("RecordInvalid", field)
    assert "Line 2" in refused.value.message


def test_records_are_completed() -> None:
    (found,) = serve.parse_records(b'\n{"image": "s3://b/dicom/", "mask": "s3://b/m.nii.gz"}\n')
    assert found == {"caseId": "record-2", "image": ["s3://b/dicom/"], "mask": "s3://b/m.nii.gz"}
