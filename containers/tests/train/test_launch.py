"""The processes of a training: what each host starts torchrun with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch.distributed.run import get_args_parser

from voxelburst.contract import TrainTask
from voxelburst.errors import StageError
from voxelburst.training import launch
from voxelburst.training.launch import Launch, launch_of


def sagemaker(hosts: int, current: int) -> dict[str, Any]:
    """As SageMaker writes it: hosts sorted as text, algo-10 before algo-2."""
    names = sorted(f"algo-{i + 1}" for i in range(hosts))
    return {"current_host": names[current], "hosts": names, "network_interface_name": "eth0"}


@pytest.mark.parametrize("hosts", [1, 2, 16])
def test_sagemakers_hosts_get_each_a_rank_of_their_own_and_one_main_host(hosts: int) -> None:
    launches = [launch_of(8, sagemaker(hosts, i), {}) for i in range(hosts)]
    assert sorted(here.node_rank for here in launches) == list(range(hosts))
    assert {here.nodes for here in launches} == {hosts}
    assert {here.main_address for here in launches} == {"algo-1" if hosts > 1 else "127.0.0.1"}
    (main,) = [i for i, here in enumerate(launches) if here.node_rank == 0]
    assert sagemaker(hosts, main)["current_host"] == "algo-1"


def test_sagemakers_hosts_talk_over_the_interface_that_it_names() -> None:
    assert launch_of(8, sagemaker(2, 1), {}).environment() == {
        "NCCL_SOCKET_IFNAME": "eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
    }
    assert launch_of(8, sagemaker(1, 0), {}).environment() == {}  # ranks of one host talk over its loopback
    assert launch_of(8, {}, {}).environment() == {}


def test_the_main_hosts_name_is_asked_for_until_it_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([OSError("not yet"), OSError("not yet"), "10.0.3.7"])
    slept: list[float] = []

    def resolve(name: str) -> str:
        assert name == "algo-1"
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(launch.socket, "gethostbyname", resolve)
    monkeypatch.setattr(launch.time, "sleep", slept.append)
    launch._wait_for("algo-1")
    assert len(slept) == 2


def test_a_main_host_whose_name_never_resolves_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_: str) -> str:
        raise OSError("never")

    monkeypatch.setattr(launch.socket, "gethostbyname", resolve)
    monkeypatch.setattr(launch, "_RESOLVE_SECONDS", -1.0)
    with pytest.raises(StageError) as error:
        launch._wait_for("algo-1")
    assert (error.value.code, error.value.got) == ("MainHostUnreachable", '"algo-1"')


@pytest.mark.parametrize("hosts", [1, 2, 16])
@pytest.mark.parametrize("main", [0, 1])
def test_batchs_nodes_get_each_a_rank_and_the_main_node_the_first(hosts: int, main: int) -> None:
    if main >= hosts:
        pytest.skip("a single node is the main one")
    launches = []
    for index in range(hosts):
        environment = {
            "AWS_BATCH_JOB_NUM_NODES": str(hosts),
            "AWS_BATCH_JOB_NODE_INDEX": str(index),
            "AWS_BATCH_JOB_MAIN_NODE_INDEX": str(main),
        }
        if index != main:  # the main node is not told its own address
            environment["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = "10.0.3.7"
        launches.append(launch_of(8, {}, environment))
    assert sorted(here.node_rank for here in launches) == list(range(hosts))
    assert launches[main].node_rank == 0
    assert {h.main_address for i, h in enumerate(launches) if i != main} <= {"10.0.3.7"}


def task_of(gpus: int) -> TrainTask:
    return cast(TrainTask, SimpleNamespace(gpus=gpus, strategy="ddp"))


@pytest.mark.parametrize(
    ("planned", "on_host", "hosts", "ranks"),
    [
        (16, 8, 2, 16),  # two p5en.48xlarge, as planned
        (2, 8, 2, 2),  # planned for one GPU on each of two: hosts with more take no more than the batch has
        (16, 1, 2, 2),  # the ladder fell to hosts with one GPU each
        (8, 8, 1, 8),
        (4, 8, 1, 4),
        (1, 8, 1, 1),
    ],
)
def test_hosts_share_the_gpus_of_the_task(
    monkeypatch: pytest.MonkeyPatch, planned: int, on_host: int, hosts: int, ranks: int
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: on_host)
    batch = {"AWS_BATCH_JOB_NUM_NODES": str(hosts)}
    for config, environment in [(sagemaker(hosts, 0), {}), ({}, batch)]:
        nodes = launch.nodes_of(config, environment)
        assert nodes == hosts
        assert nodes * launch.processes_of(task_of(planned), nodes, environment) == ranks


def test_torchrun_understands_the_arguments() -> None:
    arguments = Launch(nodes=16, node_rank=3, processes=8, main_address="algo-1").arguments(29501)
    parsed = get_args_parser().parse_args([*arguments, "-m", "voxelburst", "train", "--task", "file:///x"])
    assert (parsed.nnodes, parsed.nproc_per_node, parsed.node_rank) == ("16", "8", 3)
    assert (parsed.master_addr, parsed.master_port, parsed.max_restarts) == ("algo-1", 29501, 0)
    assert parsed.module
    assert parsed.training_script_args == ["train", "--task", "file:///x"]


def test_alone_it_is_one_node_reached_at_itself() -> None:
    here = launch_of(2, {}, {})
    assert here == Launch(nodes=1, node_rank=0, processes=2, main_address="127.0.0.1")


def test_refuses_a_host_that_is_not_in_its_own_list() -> None:
    config = {**sagemaker(2, 0), "current_host": "algo-9"}
    with pytest.raises(StageError, match="'algo-9'") as error:
        launch_of(8, config, {})
    assert error.value.code == "HostUnknown"


def test_a_rank_leaves_its_error_for_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXELBURST_RANK_ERRORS", str(tmp_path))
    error = StageError("LossNotFinite", "The loss was nan.", "Check the labels.", got="nan")
    launch.leave_error(error)
    assert not list(tmp_path.iterdir())  # not in a process that is no rank
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    launch.leave_error(error)
    (left,) = tmp_path.iterdir()
    assert json.loads(left.read_text())["code"] == "LossNotFinite"
