"""The transform server in a run: a record is a shard of an infer task, done as an array's child does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_serve import Server
from trained_dataset import TrainedDataset

from voxelburst import serve
from voxelburst.errors import StageError

NAME = "infer-fold0-fp32-onnxruntime"


@pytest.fixture(scope="module")
def server(compiled: TrainedDataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    uri = compiled.infer_task("onnxruntime", shards=3)
    server = Server(tmp_path_factory.mktemp("opt-ml"), VOXELBURST_TASK=uri)
    try:
        server.wait(200)
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_is_ready_without_a_model_folder_and_does_a_shard_as_an_array_child_would(
    server: Server, compiled: TrainedDataset
) -> None:
    status, body = server.call("POST", "/invocations", b'{"shard": 0}\n')
    assert (status, json.loads(body)) == (200, {"shard": 0})
    result = compiled.result(f"{NAME}.0")
    assert (result["stage"], result["index"]) == ("infer", 0)
    # Cases whose position modulo the shards is the index.
    assert result["cases"] == len(compiled.validation[0::3])
    assert compiled.store.exists(result["scoresKey"])


def test_a_shard_that_fails_is_answered_with_500_and_leaves_its_error_document(
    server: Server, compiled: TrainedDataset
) -> None:
    compiled.infer_task("onnxruntime", shards=3, enginePrefix="compile/nowhere/")
    try:
        status, body = server.call("POST", "/invocations", b'{"shard": 1}\n')
        assert (status, json.loads(body)["error"]["code"]) == (500, "ShardFailed")
        assert compiled.error(f"{NAME}.1")["code"] == "ModelFolderMissing"
    finally:
        compiled.infer_task("onnxruntime", shards=3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"shard": 0}\n{"shard": 1}\n',
        b"[0]",
        b"no json",
        b'{"shard": -1}',
        b'{"shard": true}',
        b'{"case": 0}',
    ],
)
def test_what_is_no_shard_is_refused_by_code(server: Server, body: bytes) -> None:
    status, answer = server.call("POST", "/invocations", body)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "RecordInvalid")


def test_a_shard_is_an_index() -> None:
    assert serve.parse_shard(b'\n{"shard": 7}\n') == 7
    with pytest.raises(StageError):
        serve.parse_shard(b'{"shard": 1.5}')


def test_no_task_means_no_shards(tmp_path: Path) -> None:
    assert serve._Shards.of({}) is None
    assert serve._Shards.of({"VOXELBURST_TASK": f"{tmp_path.as_uri()}/task.json"}) is not None
