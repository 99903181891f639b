"""Dice + cross-entropy over the supervised levels (recipe.md, 4)."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss

from voxelburst.training.loss import overlaps, segmentation_loss


def sample(seed: int = 0, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, 8, 6, 10, generator=generator)
    label = torch.randint(0, classes, (3, 8, 6, 10), generator=generator).to(torch.uint8)
    return logits, label


@pytest.mark.parametrize("batch_dice", [False, True])
def test_one_level_is_monais_dice_and_cross_entropy_without_background_less_one(batch_dice: bool) -> None:
    logits, label = sample()
    reference = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=batch_dice,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )
    expected = reference(logits.double(), label[:, None].long()) - 1
    got = segmentation_loss([logits], label, [1.0], batch_dice=batch_dice)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


def test_coarser_levels_take_labels_by_nearest_exact_and_their_weight() -> None:
    logits, label = sample()
    coarse = torch.randn(3, 3, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    fine_alone = segmentation_loss([logits], label, [1.0], batch_dice=False)
    # Nearest-exact of a factor two is the second of each pair.
    coarse_alone = segmentation_loss([coarse], label[:, 1::2, 1::2, 1::2], [1.0], batch_dice=False)
    both = segmentation_loss([logits, coarse], label, [0.7, 0.3], batch_dice=False)
    torch.testing.assert_close(both, 0.7 * fine_alone + 0.3 * coarse_alone)


def test_is_about_one_for_an_untrained_network_and_near_minus_one_for_a_perfect_one() -> None:
    label = torch.zeros(2, 20, 20, 20, dtype=torch.uint8)
    label[:, 4:8, 4:10, 4:10] = 1
    label[:, 12:16, 4:10, 4:10] = 2
    untrained = segmentation_loss([torch.zeros(2, 3, 20, 20, 20)], label, [1.0], batch_dice=False)
    assert untrained.item() == pytest.approx(math.log(3), abs=0.15)
    perfect = 20.0 * torch.nn.functional.one_hot(label.long(), 3).movedim(-1, 1)
    assert segmentation_loss([perfect], label, [1.0], batch_dice=False).item() == pytest.approx(-1, abs=1e-3)


def test_half_precision_logits_are_summed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 48, 48, 48, generator=generator).to(torch.float16)
    label = torch.randint(0, 2, (1, 48, 48, 48), generator=generator).to(torch.uint8)
    got = segmentation_loss([logits], label, [1.0], batch_dice=False)
    torch.testing.assert_close(
        got, segmentation_loss([logits.float()], label, [1.0], batch_dice=False), rtol=1e-6, atol=0
    )


def test_a_class_that_is_absent_keeps_the_loss_and_its_gradient_finite() -> None:
    logits, label = sample()
    logits.requires_grad_()
    loss = segmentation_loss([logits], torch.zeros_like(label), [1.0], batch_dice=False)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_shares_of_ranks_make_the_mean_over_ranks_the_mean_over_samples() -> None:
    logits, label = sample()
    whole = segmentation_loss([logits], label, [1.0], batch_dice=False)
    parts = [
        segmentation_loss([logits[part]], label[part], [1.0], batch_dice=False, share=size * 2 / 3)
        for part, size in ((slice(0, 1), 1), (slice(1, 3), 2))
    ]
    torch.testing.assert_close(sum(parts) / 2, whole)


def test_overlaps_count_hard_labels() -> None:
    label = torch.tensor([0, 1, 1, 2, 2, 2], dtype=torch.uint8).reshape(1, 1, 1, 6)
    predicted = torch.tensor([1, 1, 0, 2, 2, 0]).reshape(1, 1, 1, 6)
    logits = torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float()
    assert overlaps(logits, label).tolist() == [[2, 4], [4, 5]]
