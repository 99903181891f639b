"""The processes of a training: SageMaker's host list or Batch's multi-node variables, for torchrun."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from .. import paths
from ..contract import TrainTask, frozen
from ..errors import StageError

PORT = 29500
_RESOLVE_SECONDS = 300.0


@frozen
class Launch:
    """What torchrun is started with on this host."""

    nodes: int
    node_rank: int
    processes: int
    main_address: str

    def arguments(self) -> list[str]:
        return [
            f"--nnodes={self.nodes}",
            f"--nproc_per_node={self.processes}",
            f"--node_rank={self.node_rank}",
            f"--master_addr={self.main_address}",
            f"--master_port={os.environ.get('VOXELBURST_MAIN_PORT', PORT)}",
            # A lost rank ends the training: the service starts it again, and it resumes from its checkpoint.
            "--max_restarts=0",
        ]


def launch_of(processes: int, resource_config: Mapping[str, Any], environment: Mapping[str, str]) -> Launch:
    """The launch of this host.

    Args:
        processes: on each host.
        resource_config: SageMaker's resourceconfig.json (current_host, hosts); empty outside of it.
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
        return Launch(nodes=len(hosts), node_rank=rank, processes=processes, main_address=hosts[0])
    nodes = int(environment.get("AWS_BATCH_JOB_NUM_NODES", "1"))
    if nodes == 1:
        return Launch(nodes=1, node_rank=0, processes=processes, main_address="127.0.0.1")
    index = int(environment["AWS_BATCH_JOB_NODE_INDEX"])
    main = environment.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS") or _own_address()
    # Batch counts nodes as it likes; the main node must be torchrun's rank 0.
    main_index = int(environment.get("AWS_BATCH_JOB_MAIN_NODE_INDEX", "0"))
    rank = 0 if index == main_index else index + (index < main_index)
    return Launch(nodes=nodes, node_rank=rank, processes=processes, main_address=main)


def _own_address() -> str:
    return socket.gethostbyname(socket.gethostname())


def processes_of(task: TrainTask, environment: Mapping[str, str]) -> int:
    """Processes on this host: one a GPU; on the CPU one, for ddp as many as VOXELBURST_DDP_PROCESSES says."""
    if task.gpus > 0:
        import torch

        return max(1, min(task.gpus, torch.cuda.device_count()) if torch.cuda.is_available() else task.gpus)
    return int(environment.get("VOXELBURST_DDP_PROCESSES", "1")) if task.strategy == "ddp" else 1


def launch_ranks(launch: Launch, task_uri_arguments: list[str]) -> None:
    """Starts the ranks of this host by torchrun and waits for them.

    Raises:
        StageError: TrainingRankFailed; the rank's own error document says why.
    """
    if launch.main_address != "127.0.0.1" and launch.node_rank > 0:
        _wait_for(launch.main_address)
    command = [sys.executable, "-m", "torch.distributed.run", *launch.arguments()]
    code = subprocess.run(
        [*command, "-m", "voxelburst", "train", *task_uri_arguments], check=False
    ).returncode
    if code != 0:
        raise StageError(
            "TrainingRankFailed",
            f"A process of the distributed training ended with exit code {code}.",
            "Read the first error in the stage's log, remove its cause and resume the run.",
            got=str(code),
        )


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


def resource_config() -> dict[str, Any]:
    return paths.resource_config() if paths.in_training_job() else {}
