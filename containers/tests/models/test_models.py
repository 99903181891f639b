"""`models.build`: nnU-Net's plain U-Net of a plan's network block."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from voxelburst import models
from voxelburst.contract import Network, Zyx
from voxelburst.errors import StageError
from voxelburst.models.zoo import supervision_weights

HIPPOCAMPUS = Network(
    model="unet3d",
    input_channels=1,
    output_classes=3,
    features=[32, 64, 128, 256],
    strides=[(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)],
    kernels=[(3, 3, 3)] * 4,
    deep_supervision_weights=[2 / 3, 1 / 3, 0.0],
)
SMALL = dataclasses.replace(HIPPOCAMPUS, features=[4, 8, 16, 32])
ANISOTROPIC = Network(
    model="unet3d",
    input_channels=2,
    output_classes=2,
    features=[4, 8, 16],
    strides=[(1, 1, 1), (1, 2, 2), (2, 2, 2)],
    kernels=[(1, 3, 3), (3, 3, 3), (3, 3, 3)],
    deep_supervision_weights=[1.0, 0.0],
)


def test_hippocampus_has_the_parameters_of_nnunets_plan() -> None:
    # recipe.md 1.6: 5,601,158 without the biases of the three transposed convolutions.
    assert models.parameter_count(models.build(HIPPOCAMPUS)) == 5_601_158 + 32 + 64 + 128


def test_gives_one_tensor_of_the_patch_in_eval_mode_and_each_supervised_head_in_training() -> None:
    model = models.build(SMALL)
    patches = torch.randn(2, 1, 16, 24, 16)
    finest, coarse = model(patches)
    assert finest.shape == (2, 3, 16, 24, 16)
    assert coarse.shape == (2, 3, 8, 12, 8)
    with torch.no_grad():
        assert model.eval()(patches).shape == (2, 3, 16, 24, 16)


def test_equals_monais_dynunet_of_the_same_weights() -> None:
    from monai.networks.nets import DynUNet

    ours = models.build(SMALL).eval()
    reference = DynUNet(
        3, 1, 3, SMALL.kernels, SMALL.strides, SMALL.strides[1:], SMALL.features,
        deep_supervision=True, deep_supr_num=1, trans_bias=True,
    ).eval()  # fmt: skip
    # DynUNet holds every module under two names: ours has the first of each.
    assert not reference.load_state_dict(ours.state_dict(), strict=False).unexpected_keys
    patches = torch.randn(1, 1, 16, 24, 16)
    with torch.no_grad():
        assert torch.equal(ours(patches), reference(patches))
        heads, stacked = ours.train()(patches), reference.train()(patches)
    assert torch.equal(heads[0], stacked[:, 0])
    assert torch.equal(torch.nn.functional.interpolate(heads[1], scale_factor=2.0), stacked[:, 1])


def kernels_of(part: Any) -> list[tuple[int, ...]]:
    """Of the two convolutions of a block; they must agree."""
    first, second = (part.conv1.conv.kernel_size, part.conv2.conv.kernel_size)
    assert first == second
    return first


@pytest.mark.parametrize(
    ("kernels", "decoder_deepest_first"),
    [
        ([(1, 3, 3), (3, 3, 3), (3, 3, 3)], [(3, 3, 3), (1, 3, 3)]),  # as Task09's plan begins
        ([(1, 3, 3), (1, 3, 3), (3, 3, 3)], [(1, 3, 3), (1, 3, 3)]),
        ([(1, 3, 3), (1, 1, 3), (3, 3, 3)], [(1, 1, 3), (1, 3, 3)]),
        ([(3, 3, 3), (3, 3, 3), (3, 3, 3)], [(3, 3, 3), (3, 3, 3)]),
    ],
)
def test_a_decoder_level_has_the_kernel_of_the_encoder_stage_whose_output_it_joins(
    kernels: list[Zyx], decoder_deepest_first: list[Zyx]
) -> None:
    # dynamic-network-architectures, UNetDecoder: level s, s = 1 the deepest, takes kernel_sizes[-(s + 1)].
    model: Any = models.build(dataclasses.replace(ANISOTROPIC, kernels=kernels))
    encoder = [model.input_block, *model.downsamples, model.bottleneck]
    assert [kernels_of(block) for block in encoder] == kernels
    assert [kernels_of(up.conv_block) for up in model.upsamples] == decoder_deepest_first


def test_builds_two_stages_and_anisotropic_ones() -> None:
    two = dataclasses.replace(
        SMALL, features=[4, 8], strides=[(1, 1, 1), (2, 2, 2)], kernels=[(3, 3, 3)] * 2,
        deep_supervision_weights=[1.0],
    )  # fmt: skip
    assert models.build(two)(torch.randn(1, 1, 8, 8, 8))[0].shape == (1, 3, 8, 8, 8)
    heads = models.build(ANISOTROPIC)(torch.randn(1, 2, 8, 16, 16))
    assert [tuple(h.shape) for h in heads] == [(1, 2, 8, 16, 16)]


def test_leaves_out_heads_without_weight_and_normalises_the_others() -> None:
    assert supervision_weights(HIPPOCAMPUS) == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert supervision_weights(dataclasses.replace(SMALL, deep_supervision_weights=[1, 0.5, 0.25])) == [
        pytest.approx(w) for w in (4 / 7, 2 / 7, 1 / 7)
    ]


def test_starts_from_he_normal_weights_and_zero_biases() -> None:
    torch.manual_seed(0)
    model = models.build(HIPPOCAMPUS)
    weight = dict(model.named_parameters())["bottleneck.conv2.conv.weight"]
    # variance 2 / ((1 + 0.01^2) fan_in), fan_in = 256 x 27
    assert weight.std().item() == pytest.approx((2 / (1.0001 * 256 * 27)) ** 0.5, rel=0.01)
    assert all((p == 0).all() for n, p in model.named_parameters() if n.endswith("bias"))


def test_weights_come_back_as_they_were_and_the_file_repeats_byte_for_byte(tmp_path) -> None:
    model, other = models.build(SMALL), models.build(SMALL)
    models.save_weights(model, tmp_path / "weights.pt")
    models.load_weights(other, tmp_path / "weights.pt")
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )
    (tmp_path / "again").mkdir()
    models.save_weights(
        other.to(memory_format=torch.channels_last_3d),  # type: ignore[call-overload]
        tmp_path / "again" / "weights.pt",
    )
    assert (tmp_path / "weights.pt").read_bytes() == (tmp_path / "again" / "weights.pt").read_bytes()


def test_refuses_weights_of_another_network_and_a_file_that_is_none(tmp_path) -> None:
    models.save_weights(models.build(ANISOTROPIC), tmp_path / "weights.pt")
    with pytest.raises(StageError, match="weights of the network") as error:
        models.load_weights(models.build(SMALL), tmp_path / "weights.pt")
    assert error.value.code == "WeightsUnreadable"
    (tmp_path / "weights.pt").write_bytes(b"not weights")
    with pytest.raises(StageError, match="weights of the network"):
        models.load_weights(models.build(SMALL), tmp_path / "weights.pt")


def test_refuses_a_model_it_does_not_know_and_lists_that_contradict_each_other() -> None:
    with pytest.raises(StageError, match="'vnet'"):
        models.build(dataclasses.replace(SMALL, model="vnet"))
    with pytest.raises(StageError, match="4 features, 3 strides"):
        models.build(dataclasses.replace(SMALL, strides=SMALL.strides[:3]))
