"""The optimizers and their learning rates over a budget."""

from __future__ import annotations

import itertools

import pytest
import torch

from voxelburst.training.optimizer import ADAMW, SGD, SWIN_ADAMW, optimizer_of


def test_nnunets_rate_falls_from_its_start_to_zero_by_the_power_of_0_9() -> None:
    assert SGD.at(0, 1000) == 0.01
    assert SGD.at(500, 1000) == pytest.approx(0.01 * 0.5**0.9)
    assert SGD.at(1000, 1000) == 0


def test_adamws_rate_rises_first_and_falls_to_zero_as_well() -> None:
    rates = [ADAMW.at(step, 1000) for step in range(1001)]
    assert rates[0] < 0.03 * ADAMW.initial
    assert rates.index(max(rates)) == ADAMW.warm_up_steps - 1
    assert max(rates) == pytest.approx(ADAMW.initial, rel=0.05)
    assert rates[1000] == 0
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[49:]))


def test_a_short_budget_rises_for_a_tenth_of_it() -> None:
    assert ADAMW.at(9, 100) == pytest.approx(ADAMW.initial * 0.91**0.9)
    assert ADAMW.at(0, 3) == ADAMW.initial


def test_while_the_number_of_steps_is_unknown_the_rate_only_rises() -> None:
    assert [SGD.at(step, None) for step in (0, 400)] == [0.01, 0.01]
    assert [ADAMW.at(step, None) for step in (24, 49, 400)] == pytest.approx([1.5e-3, 3e-3, 3e-3])


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_plan_names_the_optimizer(name: str, kind: type) -> None:
    optimizer, schedule = optimizer_of(name, [torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, kind)
    assert optimizer.param_groups[0]["lr"] == schedule.initial


def test_a_transformer_has_a_rate_of_its_own() -> None:
    _, schedule = optimizer_of("adamw", [torch.nn.Parameter(torch.zeros(2))], "swin-unetr")
    assert schedule is SWIN_ADAMW and schedule.initial < ADAMW.initial
