"""The moving average of the weights."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nuclei.training.callbacks import warm_average


def averaged(decay, values):
    network = nn.Linear(1, 1, bias=False)
    model = AveragedModel(network, multi_avg_fn=warm_average(decay), use_buffers=True)
    for value in values:
        nn.init.constant_(network.weight, value)
        model.update_parameters(network)
    return float(model.module.weight.detach())


def test_a_short_run_forgets_its_start():
    assert averaged(0.999, [100.0] + [1.0] * 60) == pytest.approx(1.0, abs=0.01)


def test_against_the_rule_written_out():
    values, expected = [3.0, 1.0, 4.0, 1.0, 5.0], 3.0
    for n, value in enumerate(values[1:], 1):
        keep = min(0.2, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * value
    assert averaged(0.2, values) == pytest.approx(expected)


def test_no_decay_keeps_the_last_weights():
    assert averaged(0.0, [3.0, 1.0, 7.0]) == 7.0


def test_counters_of_batch_norm_are_copied():
    network = nn.BatchNorm2d(1)
    model = AveragedModel(network, multi_avg_fn=warm_average(0.9), use_buffers=True)
    for _ in range(4):
        network(torch.rand(2, 1, 4, 4))
        model.update_parameters(network)
    assert int(model.module.num_batches_tracked) == 4
