"""Swin UNETR: MONAI's outputs from MONAI's parameters, without einops; its gradients; its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets import swin_unetr as monai_swin

from voxelburst.contract import Network
from voxelburst.errors import StageError
from voxelburst.kernels import fuse, fuse_stem
from voxelburst.models import build, load_weights, save_weights
from voxelburst.models.swin_unetr import STRIDES, features_of, shift_mask
from voxelburst.models.zoo import supervision_weights

# The smallest with two places at the bottleneck; its first stage pads and shifts its windows.
PATCH = (32, 32, 64)


def network(**fields: object) -> Network:
    lists = {"features": features_of(12), "strides": STRIDES, "kernels": [(3, 3, 3)] * 6}
    named = {"input_channels": 2, "output_classes": 3, "deep_supervision_weights": [1.0]}
    return Network(**{"model": "swin-unetr", **lists, **named, **fields})


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(network()).eval().requires_grad_(False)


def test_computes_what_monais_network_does(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def permuted(x: torch.Tensor, pattern: str) -> torch.Tensor:
        """What MONAI asks einops for: axes in another order."""
        before, after = (side.split() for side in pattern.split("->"))
        return x.permute([before.index(axis) for axis in after])

    monkeypatch.setattr(monai_swin, "rearrange", permuted)
    theirs = monai_swin.SwinUNETR(2, 3, feature_size=12).eval()
    found = theirs.load_state_dict(model.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert all(name.endswith("relative_position_index") for name in found.missing_keys)
    patches = torch.randn(1, 2, *PATCH)
    with torch.no_grad():
        assert torch.allclose(model(patches), theirs(patches), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "padded", "window", "shift"),
    [
        ((16, 20, 21), [21, 21, 21], (7, 7, 7), (3, 3, 3)),
        ((4, 20, 4), [4, 21, 4], (4, 7, 4), (0, 3, 0)),
    ],
)
def test_the_mask_of_shifted_windows_is_monais(
    size: tuple, padded: list, window: tuple, shift: tuple
) -> None:
    theirs = monai_swin.compute_mask(padded, window, shift, "cpu")
    assert torch.equal(shift_mask(size, window, shift, torch.device("cpu")), theirs)


def test_every_parameter_gets_a_gradient_from_its_one_head() -> None:
    torch.manual_seed(0)
    trained = build(network()).train()
    (logits,) = trained(torch.randn(1, 2, *PATCH))
    assert tuple(logits.shape) == (1, 3, *PATCH)
    assert supervision_weights(network()) == [1.0]
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.parameters())


def test_its_weights_are_read_back(model: torch.nn.Module, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "weights.pt")
    again = build(network())
    load_weights(again, tmp_path / "weights.pt")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_fused_strategy_leaves_what_is_not_a_u_nets_as_it_is() -> None:
    for name in ("swin-unetr", "resenc-unet"):
        other = network() if name == "swin-unetr" else network(model=name, features=[4] * 6)
        made = build(other)
        assert fuse(made) == 0 and not fuse_stem(made)


@pytest.mark.parametrize(
    "lists",
    [
        {"features": [16, 16, 32, 64, 128, 256]},
        {"features": [12, 24, 48, 96, 192, 320]},
        {"strides": [(1, 1, 1), (1, 2, 2), *STRIDES[2:]]},
    ],
)
def test_a_plan_of_another_shape_is_refused(lists: dict) -> None:
    with pytest.raises(StageError) as refused:
        build(network(**lists))
    assert refused.value.code == "NetworkInvalid"
