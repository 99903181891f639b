"""machine says what is here, as the Machine of the contracts has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from voxelburst import engines, host, machine
from voxelburst.__main__ import main


def test_prints_one_json_object_with_what_the_plan_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_SECONDS", 0.05)
    assert machine.main([]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpus"] == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert ("gpuName" in found) == ("gpuMemoryGiB" in found) == (found["gpus"] > 0)
    assert found["cpus"] == host.processors()
    assert 0 < found["memoryGiB"] < 100_000
    assert found["convGflops"] > 0.1
    assert "3x3x3" in found["convShape"] and ("bfloat16" in found["convShape"]) == found["bf16"]
    assert set(found["engines"]) | set(found["missing"]) == set(engines.NAMES)
    assert "torch" in found["engines"]
    assert found["versions"]["torch"] == host.describe(("torch",)).versions["torch"]


def test_the_rate_is_operations_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that says each convolution took 2 ms."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(machine, "_CPU_SHAPE", (1, 4, 10))
    monkeypatch.setattr(machine, "_SECONDS", 0.01)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(ticks) * 2e-3)
    found = machine.conv_gflops(torch.device("cpu"), torch.float32)
    assert found["convGflops"] == pytest.approx(2 * 27 * 16 * 1000 / 2e-3 / 1e9, abs=0.05)
    assert found["convShape"] == "1 x 4 -> 4 channels x 10^3, 3x3x3, float32"


def test_memory_is_the_containers_where_it_is_less(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    real = machine.Path
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(
        machine, "Path", lambda path: limit if str(path).endswith("memory.max") else real("/none")
    )
    limit.write_text(f"{3 * 2**30}\n")
    assert machine.memory_gib() == 3.0
    limit.write_text("max\n")
    assert machine.memory_gib() > 3.0 or machine.os.sysconf("SC_PHYS_PAGES") < 1 << 20


def test_emulated_bf16_is_not_native(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "Path", lambda _: cpuinfo)
    for flags, native in (("avx2 avx512f", False), ("avx512f avx512_bf16", True), ("amx_bf16", True)):
        cpuinfo.write_text(f"flags : {flags}\n")
        assert machine.native_bf16(torch.device("cpu")) is native


def test_names_all_missing_packages_before_it_imports_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\ndependencies = ["numpy>=2", "no-such-package==1", "nor.this[x]; python_version>\'3\'"]\n'
    )
    monkeypatch.setattr(machine, "PYPROJECT", project)
    assert main(["machine"]) == 1
    error = json.loads(capsys.readouterr().out)
    assert error["code"] == "PythonPackageMissing"
    assert error["got"] == "no-such-package, nor.this"


def test_this_environment_lacks_nothing() -> None:
    assert machine.PYPROJECT.exists()
    assert machine.missing_packages() == []
