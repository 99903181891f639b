"""The processes of a training: SageMaker's host list or Batch's multi-node variables, for torchrun."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import host, paths
from ..contract import TrainTask, frozen
from ..errors import StageError

PORT = 29500
_RESOLVE_SECONDS = 300.0
_ERRORS_VARIABLE = "VOXELBURST_RANK_ERRORS"


@frozen
class Launch:
    """What torchrun is started with on this host."""

    nodes: int
    node_rank: int
    processes: int
    main_address: str
    interface: str | None = None  # by which the hosts reach each other, where the service names it

    def environment(self) -> dict[str, str]:
        """What NCCL (to find its peers, before EFA carries the data) and gloo would guess among several."""
        if self.interface is None:
            return {}
        return {"NCCL_SOCKET_IFNAME": self.interface, "GLOO_SOCKET_IFNAME": self.interface}

    def arguments(self, port: int = PORT) -> list[str]:
        return [
            f"--nnodes={self.nodes}",
            f"--nproc_per_node={self.processes}",
            f"--node_rank={self.node_rank}",
            f"--master_addr={self.main_address}",
            f"--master_port={port}",
            # A lost rank ends the training: the service starts it again, and it resumes from its checkpoint.
            "--max_restarts=0",
        ]


def launch_of(processes: int, resource_config: Mapping[str, Any], environment: Mapping[str, str]) -> Launch:
    """The launch of this host.

    Args:
        processes: on each host.
        resource_config: SageMaker's resourceconfig.json (current_host, hosts, network_interface_name); empty
            outside of it.
        environment: with AWS_BATCH_JOB_NUM_NODES and its siblings in a Batch multi-node job. The main node
            has no main address in its environment: it is reached at its own.

    Raises:
        StageError: HostUnknown when the current host is not in the list.
    """
    hosts = sorted(resource_config.get("hosts", []))
    if hosts:
        current = resource_config.get("current_host")
        if current not in hosts:
            raise StageError(
                "HostUnknown",
                f"SageMaker's resourceconfig.json names the host {current!r}, which is not among its hosts.",
                "Start the training job again; if it happens again, report it to AWS.",
                field="current_host",
                got=str(current),
                allowed=", ".join(hosts),
            )
        rank = hosts.index(current)
        # One host's name need not resolve: the local engine's does not.
        main, interface = "127.0.0.1", None
        if len(hosts) > 1:
            main, interface = hosts[0], resource_config.get("network_interface_name")
        return Launch(
            nodes=len(hosts), node_rank=rank, processes=processes, main_address=main, interface=interface
        )
    nodes = nodes_of(resource_config, environment)
    if nodes == 1:
        return Launch(nodes=1, node_rank=0, processes=processes, main_address="127.0.0.1")
    index = int(environment["AWS_BATCH_JOB_NODE_INDEX"])
    main = environment.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS") or _own_address()
    # Batch counts nodes as it likes; the main node must be torchrun's rank 0.
    main_index = int(environment.get("AWS_BATCH_JOB_MAIN_NODE_INDEX", "0"))
    rank = 0 if index == main_index else index + (index < main_index)
    return Launch(nodes=nodes, node_rank=rank, processes=processes, main_address=main)


def nodes_of(resource_config: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    """Hosts of this training, by the same two sources as `launch_of`."""
    return len(resource_config.get("hosts", [])) or int(environment.get("AWS_BATCH_JOB_NUM_NODES", "1"))


def _own_address() -> str:
    return socket.gethostbyname(socket.gethostname())


def processes_of(task: TrainTask, nodes: int, environment: Mapping[str, str]) -> int:
    """Processes on this host: one a GPU; on the CPU one, for ddp as many as VOXELBURST_DDP_PROCESSES says.

    Args:
        task: its `gpus` are those of all hosts together: each host takes its share, or what GPUs it has where
            the rung of the capacity ladder has fewer than were planned for.
        nodes: hosts of the training.
    """
    if task.gpus > 0:
        import torch

        share = math.ceil(task.gpus / nodes)
        return max(1, min(share, torch.cuda.device_count()) if torch.cuda.is_available() else share)
    return int(environment.get("VOXELBURST_DDP_PROCESSES", "1")) if task.strategy == "ddp" else 1


def launch_ranks(launch: Launch, arguments: list[str]) -> None:
    """Starts the ranks of this host by torchrun and waits for them. SIGTERM is passed on to them.

    Args:
        arguments: each rank's, of `python -m voxelburst`.

    Raises:
        StageError: that of the rank that failed first; TrainingRankFailed when it left none; TrainingStopped
            after SIGTERM.
    """
    if launch.main_address != "127.0.0.1" and launch.node_rank > 0:
        _wait_for(launch.main_address)
    # On one host two trainings may run at a time: each has a port of its own.
    port = PORT if launch.nodes > 1 else _free_port()
    command = [sys.executable, "-m", "torch.distributed.run", *launch.arguments(port)]
    # torchrun would give every rank one thread.
    share = str(max(1, host.cpus() // launch.processes))
    with tempfile.TemporaryDirectory(prefix="voxelburst-ranks-") as errors:
        process = subprocess.Popen(
            [*command, "-m", "voxelburst", *arguments],
            # What the deployment sets itself stays.
            env={**launch.environment(), **os.environ, "OMP_NUM_THREADS": share, _ERRORS_VARIABLE: errors},
        )
        was_stopped = False

        def pass_on(number: int, _: Any) -> None:
            nonlocal was_stopped
            was_stopped = True
            process.send_signal(number)

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
        if code == 0:
            return
        if was_stopped:
            raise stopped()
        for path in sorted(Path(errors).iterdir()):
            raise _from_document(json.loads(path.read_text()))
    raise StageError(
        "TrainingRankFailed",
        f"A process of the distributed training ended with exit code {code} and left no error.",
        "Read the end of the stage's log, remove the cause and resume the run.",
        got=str(code),
    )


def stopped() -> StageError:
    """The end of a training that got SIGTERM: 143, as shells and container runtimes have it."""
    return StageError(
        "TrainingStopped",
        "The training was stopped by SIGTERM before its last step; its last checkpoint is kept.",
        "Resume the run: the training goes on from that checkpoint.",
        got="SIGTERM",
        exit_code=128 + signal.SIGTERM,
    )


def leave_error(error: StageError) -> None:
    """In a rank: what went wrong, for the process that started it. The first to leave one is the cause."""
    folder = os.environ.get(_ERRORS_VARIABLE)
    if folder and under_torchrun():
        name = f"{time.time_ns():020d}-{os.environ.get('RANK', '0')}.json"
        (Path(folder) / name).write_text(json.dumps(error.to_document()))


def _from_document(document: dict[str, Any]) -> StageError:
    return StageError(
        document["code"],
        document["message"],
        document["remedy"],
        field=document.get("field"),
        got=document.get("got"),
        allowed=document.get("allowed"),
        case_id=document.get("caseId"),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(address: str) -> None:
    """SageMaker's host names resolve some seconds after the containers start."""
    deadline = time.monotonic() + _RESOLVE_SECONDS
    while True:
        try:
            socket.gethostbyname(address)
            return
        except OSError as cause:
            if time.monotonic() > deadline:
                raise StageError(
                    "MainHostUnreachable",
                    f"The main host's name did not resolve within {_RESOLVE_SECONDS:.0f} seconds.",
                    "Check the training's network; resume the run.",
                    got=json.dumps(address),
                ) from cause
            time.sleep(2)


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@frozen
class Rank:
    """Where this process stands among all ranks, and among those of its host."""

    rank: int
    ranks: int
    local_rank: int

    @classmethod
    def here(cls) -> Rank:
        names = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        rank, ranks, local_rank = (int(os.environ.get(*name)) for name in names)
        return cls(rank=rank, ranks=ranks, local_rank=local_rank)


def resource_config() -> dict[str, Any]:
    return paths.resource_config() if paths.in_training_job() else {}
