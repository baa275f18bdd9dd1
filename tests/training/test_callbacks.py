"""The moving average of the weights, the table of metrics, the lines of progress."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nuclei.models.base import SegmentationNetwork
from nuclei.training.callbacks import (
    MetricsTable,
    PlainProgress,
    read_metrics,
    training_seconds,
    warm_average,
)
from nuclei.training.losses import Bce
from nuclei.training.module import Segmentation


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


def trainer(epoch, **more):
    """What the callbacks read of Lightning's Trainer."""
    group = {"lr": 0.5}
    values = {"current_epoch": epoch, "global_step": 4 * (epoch + 1), "check_val_every_n_epoch": 2}
    values |= {"callback_metrics": {"loss": 1 / (epoch + 1), "mAP": 0.25}, "max_epochs": 3}
    values |= {"is_global_zero": True}
    return SimpleNamespace(
        **values | more, optimizers=[SimpleNamespace(param_groups=[group])], estimated_stepping_batches=12
    )


@pytest.fixture
def module():
    return Segmentation(SegmentationNetwork(1), Bce(), torch.optim.SGD, "constant", 0.0, lambda maps: maps)


def test_a_resumed_run_goes_on_in_the_table_of_metrics(tmp_path, module):
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.on_train_start(trainer(0), module)
    for epoch in (0, 1):
        table.on_train_epoch_end(trainer(epoch), module)
    resumed = MetricsTable(path)
    resumed.on_train_start(trainer(1), module)  # the second epoch runs again
    resumed.on_train_epoch_end(trainer(1, global_step=80), module)
    MetricsTable(path).on_train_epoch_end(trainer(2, is_global_zero=False), module)  # the first one writes
    assert path.read_text().splitlines()[0] == "epoch,step,seconds,lr,loss,val_loss,val_accuracy,val_iou,mAP"
    lines = read_metrics(path)
    assert [(r["epoch"], r["step"], r["loss"], r["mAP"]) for r in lines] == [
        ("0", "4", "1.0000", ""),
        ("1", "80", "0.5000", "0.2500"),
    ]
    assert training_seconds(lines) >= 0 and training_seconds([]) == 0


def test_progress_tells_the_time_that_is_left_from_where_a_run_went_on(module, capsys, monkeypatch):
    clock = iter((0.0, 5.0, 20.0))
    monkeypatch.setattr("nuclei.training.callbacks.time.monotonic", lambda: next(clock))
    progress = PlainProgress()
    progress.on_train_start(trainer(0, global_step=2), module)
    progress.on_train_batch_end(trainer(0, global_step=3), module)
    progress.on_train_batch_end(trainer(0, global_step=4), module)
    assert capsys.readouterr().err == "train: epoch 1/3, step 4/12, 80 s left\n"
