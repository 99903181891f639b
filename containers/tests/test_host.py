"""The share of the machine that a process takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from voxelburst import host
from voxelburst.loaders.torch_loader import workers_of


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1", 1), ("3", 3), ("4,2", 4), ("64", 4), ("0", 4), ("", 4), ("all", 4), (None, 4)],
)
def test_a_process_takes_its_share_of_the_processors_and_no_more_than_there_are(
    given: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert host.cpus() == expected
    assert host.processors() == 4  # what the machine has does not depend on who asks


def test_loader_processes_leave_a_core_to_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for share, workers in ((1, 1), (2, 1), (6, 5), (96, 12)):
        monkeypatch.setattr(host, "cpus", lambda share=share: share)
        assert workers_of(torch.device("cuda")) == workers
        assert workers_of(torch.device("cpu")) == 0


PROGRAM = """
import json
from unittest import mock
from voxelburst import host
from voxelburst.metrics import case_scores, surfaces
import numpy as np
from voxelburst.contract import Label

mask = np.zeros((8, 8, 8), np.uint8)
mask[2:6, 2:6, 2:6] = 1
with mock.patch.object(surfaces, "area_within", return_value=1.0) as scored:
    case_scores.score_case(mask, mask, [Label(value=0, name="b"), Label(value=1, name="a")], (1, 1, 1), 1.0)
print(json.dumps({"cpus": host.cpus(), "scoring": scored.call_args.args[-1], "said": host.describe().cpus}))
"""


def test_two_children_on_two_cores_use_one_each() -> None:
    if host.processors() < 2:
        pytest.skip("one core here")
    cores = sorted(os.sched_getaffinity(0))[:2]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONPATH": str(Path(host.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in cores
    ]
    for child in children:
        output, _ = child.communicate(timeout=120)
        assert json.loads(output) == {"cpus": 1, "scoring": 1, "said": 1}
