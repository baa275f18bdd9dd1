"""Losses against the formulas, written out."""

import numpy as np
import pytest
import torch

from nuclei.errors import UserError
from nuclei.training.losses import (
    Bce,
    BceDice,
    BceLogDice,
    CrossEntropy,
    SoftIou,
    WeightedBce,
    soft_dice_loss,
)


def test_against_the_formula():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(2, 3, 4, 5)), dtype=torch.float32)
    target = torch.tensor(rng.random((2, 3, 4, 5)), dtype=torch.float32)
    p, t = 1 / (1 + np.exp(-logits.numpy())), target.numpy()
    bce = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean((0, 2, 3))
    dice = 1 - (2 * (p * t).sum((0, 2, 3)) + 1) / ((p + t).sum((0, 2, 3)) + 1)
    expected = (bce * [1, 2, 3]).sum() + (dice * [1, 0.5, 0]).sum()
    loss = BceDice(bce=(1, 2, 3), dice=(1, 0.5, 0))(logits, target)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_dice_of_a_perfect_and_an_empty_map():
    target = torch.zeros(1, 1, 8, 8)
    assert float(soft_dice_loss(target, target)) == 0
    target[..., :4] = 1
    assert float(soft_dice_loss(target, target)) == pytest.approx(0)
    assert float(soft_dice_loss(1 - target, target)) > 0.9


def formulas():
    """Logits and targets, and their probabilities as arrays."""
    rng = np.random.default_rng(1)
    logits = torch.tensor(rng.normal(size=(2, 2, 4, 5)), dtype=torch.float32)
    target = torch.tensor(rng.integers(0, 2, (2, 2, 4, 5)), dtype=torch.float32)
    return logits, target, 1 / (1 + np.exp(-logits.numpy())), target.numpy()


def test_the_papers_losses_against_their_formulas():
    logits, target, p, t = formulas()
    bce = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert float(Bce()(logits, target)) == pytest.approx(bce.mean(), rel=1e-5)
    dice = (2 * (p * t).sum((0, 2, 3)) + 1) / ((p + t).sum((0, 2, 3)) + 1)
    assert float(BceLogDice()(logits, target)) == pytest.approx(bce.mean() - np.log(dice).mean(), rel=1e-5)
    both = (p * t).sum((0, 2, 3))
    iou = (both + 1) / ((p + t).sum((0, 2, 3)) - both + 1)
    assert float(SoftIou()(logits, target)) == pytest.approx(1 - iou.mean(), rel=1e-5)
    weight = torch.rand(2, 1, 4, 5) + 1
    weighted = WeightedBce()(logits, torch.cat([target, weight], 1))
    assert float(weighted) == pytest.approx((bce * weight.numpy()).mean(), rel=1e-5)
    exclusive = torch.stack([target[:, 0], 1 - target[:, 0]], 1)
    q = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = -np.log((q * exclusive.numpy()).sum(1)).mean()
    assert float(CrossEntropy()(logits, exclusive)) == pytest.approx(expected, rel=1e-5)


def test_weights_must_be_as_many_as_channels():
    with pytest.raises(UserError, match="expected 2 weights, one for each channel of the model, got 3 and 3"):
        BceDice(bce=(1, 2, 3), dice=(1, 0.5, 0))(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
