"""The bench on a CPU: its rows, its counts, its draws, and what it says of a peer that is not there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from voxelburst.bench import main, peers
from voxelburst.bench.command import reference_network
from voxelburst.bench.draws import MlperfSampling
from voxelburst.bench.operations import teraflop
from voxelburst.bench.profile import _group
from voxelburst.errors import StageError

TINY = [
    "--size",
    "24",
    "--patch",
    "16",
    "--width",
    "4",
    "--batch",
    "2",
    "--cases",
    "2",
    "--warm-up",
    "2",
    "--steps",
    "3",
    "--seconds",
    "0",
]


def test_counts_what_performance_md_counts_for_the_reference_net() -> None:
    forward, training = teraflop(reference_network((128, 128, 128)), (128, 128, 128))
    assert forward == pytest.approx(0.955, abs=0.002)
    assert training == pytest.approx(2.86, abs=0.01)


def test_the_reference_net_has_as_many_stages_as_its_patch_allows() -> None:
    assert reference_network((128, 128, 128)).features == [32, 64, 128, 256, 320, 320]
    assert reference_network((40, 56, 40)).features == [32, 64, 128, 256]


def test_rows_of_a_processor_are_complete_and_say_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.json"
    assert main([*TINY, "--strategies", "fp32,fused", "--augmentations", "mlperf", "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == document
    assert document["failed"] == []
    plain, fused = document["rows"]
    assert (plain["strategy"], plain["loader"], plain["fallbacks"]) == ("fp32", "torch", [])
    assert any("no GPU" in said for said in fused["fallbacks"])
    for row in (plain, fused):
        assert row["steps"] >= 3 and row["warmUpSteps"] >= 2
        assert row["patchesPerSecond"] > 0 and row["residentPatchesPerSecond"] > 0
        assert row["volumesPerSecond"] == pytest.approx(row["patchesPerSecond"] * 16**3 / 24**3, rel=1e-3)
        assert row["p50Ms"] <= row["p95Ms"]
        assert 0 < row["lossAfter"] < 3
        assert row["gpuBusyPercent"] is None and row["watts"] is None
        rate = row["patchesPerSecond"] * row["teraflopPerPatch"]
        assert row["teraflopPerSecond"] == pytest.approx(rate, rel=1e-3)


def test_a_row_that_fails_is_named_and_the_others_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxelburst.bench import command

    def fails(*_: object, **__: object) -> None:
        raise StageError("OutOfMemory", "It does not fit.", "Lower the batch.")

    monkeypatch.setattr(command, "training_row", fails)
    assert main([*TINY, "--strategies", "fp32", "--augmentations", "mlperf", "--engines", "torch"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(one["row"], one["code"]) for one in document["failed"]] == [
        ("fp32, mlperf augmentation", "OutOfMemory")
    ]
    (row,) = document["rows"]
    assert (row["kind"], row["engine"]) == ("engine", "torch")
    assert row["windowsPerSecond"] > 0


def test_mlperfs_draws_have_its_probabilities_and_stay_inside_the_case() -> None:
    sampling = MlperfSampling(seed=1, patch=(16, 16, 16), batch=2, channels=1, dummy2d=False)
    shapes, foreground = [(40, 30, 16)], [{"1": np.array([[39, 2, 8]], np.int32)}]
    draws = [sampling.draw(step, 0, shapes, foreground) for step in range(4000)]
    assert all(0 <= s <= n - 16 for draw in draws for s, n in zip(draw.start, shapes[0], strict=True))
    assert all(draw.matrix is None and draw.channels[0].gamma is None for draw in draws)
    shares = {
        0.4: np.mean([draw.start == (24, 0, 0) for draw in draws]),
        1 / 3: np.mean([draw.mirror[1] for draw in draws]),
        0.1: np.mean([draw.noise_sigma is not None for draw in draws]),
    }
    for probability, share in shares.items():
        assert scipy.stats.binomtest(round(share * 4000), 4000, probability).pvalue > 1e-4
    brightness = [draw.channels[0].brightness for draw in draws if draw.channels[0].brightness]
    assert scipy.stats.kstest(brightness, scipy.stats.uniform(0.7, 0.6).cdf).pvalue > 1e-4


def test_a_peer_that_cannot_be_installed_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "monai" / "lib" / "python3" / "site-packages").mkdir(parents=True)
    monkeypatch.setattr(peers.venv, "create", lambda *_, **__: None)
    refused = subprocess.CompletedProcess([], 1, "no network")
    monkeypatch.setattr(peers.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(StageError, match="cannot be installed beside voxelburst: no network") as error:
        peers.peer_rows(tmp_path, "monai", {})
    assert error.value.code == "PeerMissing"


def test_a_peers_rows_are_named_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "environment", lambda *_: Path("python"))
    printed = subprocess.CompletedProcess([], 0, 'prose\n[{"windowsPerSecond": 3.0}]\n')
    monkeypatch.setattr(peers.subprocess, "run", lambda *_, **__: printed)
    assert peers.peer_rows(tmp_path, "monai", {}) == [
        {"kind": "peer", "peer": "monai", "windowsPerSecond": 3.0}
    ]


@pytest.mark.parametrize(
    ("kernel", "group"),
    [
        ("gradient_sums_kernel", "norm and activation"),
        ("sm90_xmma_dgrad_implicit_gemm_bf16", "convolution"),
        ("triton_poi_fused_cat_3", "Inductor's fused kernels"),
        ("spread_kernel", "augmentation"),
        ("void at::native::multi_tensor_apply_kernel<FusedSgd>", "optimizer"),
    ],
)
def test_a_profile_knows_what_a_kernel_is_for(kernel: str, group: str) -> None:
    assert _group(kernel) == group
