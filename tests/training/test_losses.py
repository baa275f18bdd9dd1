"""Losses against the formulas, written out."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from nuclei.training.losses import BceDice, soft_dice_loss
from nuclei.training.module import warmup_cosine


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


def test_schedule_rises_then_falls_to_nothing():
    factors = [warmup_cosine(n, 100, 0.1) for n in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == factors[9] == factors[10] == 1
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[-1] < 0.001
    assert warmup_cosine(0, 1, 0.1) == 1
