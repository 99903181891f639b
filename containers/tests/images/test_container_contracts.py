"""The image's entry point, started as Batch and SageMaker do: array child, train, serve, two nodes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import container
import pytest
from small_dataset import RUN, SmallDataset, digest

from voxelburst.stage import execute
from voxelburst.stages import preprocess

# A rank that is gone is seen by its neighbours at once: their connections to it break. What remains is
# torchrun ending its other ranks. On a machine under load that takes seconds.
MAIN_ENDS_SECONDS = 90.0
# Eight processes that each load PyTorch: half a minute on two idle cores, many minutes on busy ones.
START_SECONDS = 900.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SmallDataset:
    made = SmallDataset(tmp_path_factory.mktemp("dataset"), batch=4, budget={"steps": 100})
    assert execute("preprocess", preprocess.run, made.preprocess_task()) == 0
    return made


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[subprocess.Popen]]:
    started: list[subprocess.Popen] = []
    yield started
    # torchrun's ranks are in sessions of their own: they are found by what they have inherited.
    for process in started:
        if process.poll() is None:
            process.kill()
    for pid in processes_with(f"VOXELBURST_TEST_NODE={tmp_path}"):
        os.kill(pid, signal.SIGKILL)
    for process in started:
        process.wait()
        if process.stdout:
            process.stdout.close()


def processes_with(*starts: str) -> list[int]:
    """Processes that have, for each of these, a variable NAME=VALUE that begins so."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            variables = (folder / "environ").read_bytes().split(b"\0") if folder.name.isdigit() else []
        except OSError:  # it has ended, or belongs to somebody else
            continue
        if all(any(variable.startswith(start.encode()) for variable in variables) for start in starts):
            found.append(int(folder.name))
    return found


def test_an_array_child_does_the_cases_of_its_index_and_no_others(tmp_path: Path) -> None:
    dataset = SmallDataset(tmp_path)
    task = dataset.preprocess_task()
    key = task.removeprefix(dataset.store.root_uri)
    dataset.store.write_json(key, {**dataset.store.read_json(key), "shards": 2})
    child = container.start(
        ["preprocess", "--task", task], AWS_BATCH_JOB_ARRAY_INDEX="1", AWS_BATCH_JOB_ID="j:1"
    )
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output
    done = [dataset.store.exists(f"{dataset.arrays_prefix(case_id)}meta.json") for case_id in dataset.ids]
    assert done == [False, True, False, True]
    result = dataset.store.read_json(f"runs/{RUN}/results/preprocess.1.json")
    assert (result["index"], result["cases"], result["done"]) == (1, 2, 2)
    progress = [document for document in container.documents(output) if document.get("type") == "progress"]
    assert {document["index"] for document in progress} == {1}


def test_train_keeps_sagemakers_contract(dataset: SmallDataset, tmp_path: Path) -> None:
    base = tmp_path / "opt-ml"
    config = base / "input" / "config"
    config.mkdir(parents=True)
    task = dataset.train_task("fp32", inputHash=digest("sagemaker"), outputPrefix=f"train/{digest('sm')}/")
    plan = {**dataset.plan, "budget": {"steps": 3}}
    dataset.store.write_json(f"runs/{RUN}/plan.json", plan)
    (config / "hyperparameters.json").write_text(json.dumps({"task": task}))
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    (config / "resourceconfig.json").write_text(json.dumps(hosts))
    channel = base / "input" / "data" / "arrays"
    channel.mkdir(parents=True)
    for case_id in dataset.ids:
        prefix = dataset.arrays_prefix(case_id)
        (channel / Path(prefix).name).symlink_to(dataset.store.local(prefix))
    job = container.start(["train"], SAGEMAKER_BASE_DIR=str(base), TRAINING_JOB_NAME="train-x")
    output, _ = job.communicate(timeout=300)
    dataset.store.write_json(f"runs/{RUN}/plan.json", dataset.plan)
    assert job.returncode == 0, output
    assert (base / "model" / "weights.pt").exists()
    assert not (base / "output" / "failure").exists()

    # A failure is the exit code's to tell, and its reason the file's.
    (channel / Path(dataset.arrays_prefix("case-0")).name).unlink()
    failing = container.start(["train"], SAGEMAKER_BASE_DIR=str(base))
    output, _ = failing.communicate(timeout=300)
    assert failing.returncode != 0
    assert (base / "output" / "failure").read_text().startswith("ArraysMissing: ")


def test_serve_answers_a_ping_within_two_seconds_and_says_how_it_wants_to_be_asked(
    tmp_path: Path, running: list[subprocess.Popen]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = tmp_path / "opt-ml"
    (base / "model").mkdir(parents=True)
    server = container.start(["serve"], SAGEMAKER_BASE_DIR=str(base), SAGEMAKER_BIND_TO_PORT=str(port))
    running.append(server)

    def get(path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    deadline = time.monotonic() + 120
    while True:
        try:
            status, _ = get("/ping")
            break
        except ConnectionRefusedError:
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    # Without a model it says so, and goes on answering: SageMaker waits four minutes for a healthy one.
    assert status == http.HTTPStatus.SERVICE_UNAVAILABLE
    status, body = get("/execution-parameters")
    assert status == http.HTTPStatus.OK
    assert json.loads(body)["MaxConcurrentTransforms"] == 1
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) in (0, 128 + signal.SIGTERM)


class Node:
    """A host of a Batch multi-node job with two processes, its output in a file."""

    def __init__(self, index: int, task: str, folder: Path) -> None:
        self.output = folder / f"node-{index}.log"
        variables = {
            "AWS_BATCH_JOB_ID": f"job#{index}",
            "AWS_BATCH_JOB_NUM_NODES": "2",
            "AWS_BATCH_JOB_NODE_INDEX": str(index),
            "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
            "VOXELBURST_DDP_PROCESSES": "2",
            "VOXELBURST_TEST_NODE": f"{folder}#{index}",
        }
        if index > 0:  # the main node is not told its own address
            variables["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = socket.gethostbyname(
                socket.gethostname()
            )
        with self.output.open("w") as file:
            self.process = container.start(["train", "--task", task], file.fileno(), **variables)
        self.mark = variables["VOXELBURST_TEST_NODE"]

    def ranks(self) -> list[int]:
        """The processes that train, by what torchrun gives them."""
        return processes_with(f"VOXELBURST_TEST_NODE={self.mark}", "LOCAL_RANK=")

    def text(self) -> str:
        return self.output.read_text()


def test_two_nodes_train_together_end_when_a_worker_is_killed_and_go_on_when_they_are_started_again(
    dataset: SmallDataset, tmp_path: Path, running: list[subprocess.Popen]
) -> None:
    task = dataset.train_task("ddp", checkpointMinutes=1e-3)
    checkpoints = dataset.store.local(f"train/{digest('ddp')}/checkpoints/")

    def start(name: str) -> list[Node]:
        folder = tmp_path / name
        folder.mkdir()
        nodes = [Node(index, task, folder) for index in (0, 1)]
        running.extend(node.process for node in nodes)
        return nodes

    main, other = start("first")
    deadline = time.monotonic() + START_SECONDS
    while not list(checkpoints.glob("checkpoint-*.pt")):
        assert main.process.poll() is None and time.monotonic() < deadline, main.text() + other.text()
        time.sleep(0.05)
    worker, _ = other.ranks()
    os.kill(worker, signal.SIGKILL)
    killed_at = time.monotonic()
    assert main.process.wait(timeout=MAIN_ENDS_SECONDS) != 0
    assert other.process.wait(timeout=MAIN_ENDS_SECONDS) != 0
    assert time.monotonic() - killed_at < MAIN_ENDS_SECONDS
    assert not dataset.store.exists(f"runs/{RUN}/results/train-fold0-ddp.json")

    main, other = start("second")
    assert main.process.wait(timeout=START_SECONDS) == 0, main.text()[-3000:]
    assert other.process.wait(timeout=60) == 0, other.text()[-3000:]
    result = dataset.result("train-fold0-ddp")
    assert result["steps"] == 100
    assert result["resumedFromStep"] > 0
    assert any("gloo" in said for said in result["host"]["fallbacks"])
    # Four ranks in step: the first of them, on the main node, says how far they are.
    said = [document for document in container.documents(main.text()) if document.get("type") == "progress"]
    assert said[0]["done"] == result["resumedFromStep"]
    assert said[-1]["done"] == 100
    steps = [document["done"] for document in said]
    assert len(steps) == len(set(steps))
    assert [d for d in container.documents(other.text()) if d.get("type") == "progress"] == []
