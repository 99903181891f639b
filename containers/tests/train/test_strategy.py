"""What each rung of the ladder is on this machine, and what it says of what is missing."""

from __future__ import annotations

import pytest
import torch

from voxelburst.errors import StageError
from voxelburst.training import strategy as module
from voxelburst.training.strategy import strategy_of

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "native_bf16", lambda _: True)


@pytest.fixture
def no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "native_bf16", lambda _: False)


def test_fp32_is_plain_everywhere() -> None:
    for device in (CPU, GPU):
        plain = strategy_of("fp32", "bf16", device)
        assert (plain.precision, plain.loader, plain.fallbacks) == ("fp32", "torch", [])
        assert not (plain.channels_last or plain.fused_norm or plain.compiled)
        assert plain.autocast_type is None


def test_each_rung_on_a_gpu_adds_to_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_compiler", lambda: True)
    amp, dali, fused, ddp = (strategy_of(name, "bf16", GPU) for name in module.NAMES[1:])
    assert amp.autocast_type is torch.bfloat16
    assert (amp.loader, dali.loader) == ("torch", "dali")
    assert not (dali.channels_last or dali.fused_norm or dali.compiled)
    assert fused.channels_last and fused.fused_norm and fused.compiled
    assert fused.graph and fused.loader == "triton"
    assert ddp == fused
    assert [s.fallbacks for s in (amp, dali, fused, ddp)] == [[]] * 4


def test_a_processor_without_bf16_uses_float32_and_says_so(no_bf16: None) -> None:
    amp = strategy_of("amp", "bf16", CPU)
    assert amp.precision == "fp32"
    assert amp.autocast_type is None
    assert len(amp.fallbacks) == 1
    assert "no bf16 arithmetic" in amp.fallbacks[0]


def test_a_processor_with_bf16_uses_it(bf16: None) -> None:
    amp = strategy_of("amp", "bf16", CPU)
    assert amp.autocast_type is torch.bfloat16
    assert amp.fallbacks == []


def test_fp16_is_never_emulated_on_a_cpu(bf16: None) -> None:
    assert strategy_of("amp", "fp16", CPU).precision == "fp32"


def test_every_thing_that_a_cpu_lacks_is_named(bf16: None) -> None:
    ddp = strategy_of("ddp", "bf16", CPU)
    said = " ".join(ddp.fallbacks)
    assert all(word in said for word in ("DALI's operators ran on the CPU", "not compiled", "gloo"))
    assert ddp.channels_last and ddp.fused_norm and not ddp.compiled


def test_classes_are_loaded_by_torch_in_float32_on_a_cpu_and_it_says_so(
    bf16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "has_compiler", lambda: True)
    plain, amp, fused = (strategy_of(name, "bf16", CPU, of_classes=True) for name in ("fp32", "amp", "fused"))
    assert plain.fallbacks == []
    assert (amp.precision, amp.loader, len(amp.fallbacks)) == ("fp32", "torch", 1)
    assert "float32 was used" in amp.fallbacks[0]
    assert fused.loader == "torch"
    said = " ".join(fused.fallbacks)
    assert "dali has no loader of classes" in said
    assert "DALI's operators" not in said  # it was not used, whatever it would have run on
    on_gpu = strategy_of("fused", "bf16", GPU, of_classes=True)
    assert (on_gpu.precision, on_gpu.loader, len(on_gpu.fallbacks)) == ("bf16", "torch", 1)
    assert "triton has no loader of classes" in on_gpu.fallbacks[0]


def test_without_a_compiler_the_step_is_not_compiled_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    fused = strategy_of("fused", "bf16", GPU)
    assert not fused.compiled
    assert any("C compiler" in said for said in fused.fallbacks)


def test_refuses_the_cudnn_whose_bf16_convolutions_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    with pytest.raises(StageError, match="91002") as error:
        strategy_of("amp", "bf16", GPU)
    assert error.value.code == "CudnnWrong"
    assert strategy_of("amp", "fp16", GPU).precision == "fp16"
