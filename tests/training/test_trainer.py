"""Training is repeatable, and goes on bit for bit where it stopped."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from nuclei.errors import UserError
from nuclei.models.base import SegmentationNetwork
from nuclei.models.smp import SmpNetwork
from nuclei.training import trainer
from nuclei.training.losses import Bce
from nuclei.training.module import Segmentation
from nuclei.training.trainer import (
    MetricsTable,
    PlainProgress,
    check_checkpoint,
    fit,
    precision,
    read_metrics,
    seed,
    start_from,
    training_seconds,
    warm_average,
)


class Samples(torch.utils.data.Dataset):
    """Squares that are drawn as they come."""

    def __len__(self):
        return 8

    def __getitem__(self, n):
        image = torch.zeros(1, 8, 8, dtype=torch.uint8)
        image[:, n % 4 : n % 4 + 3, 2:6] = 200
        return image, (image > 100).float(), (image[0] > 100).int()


class Data(L.LightningDataModule):
    """Eight samples, none held out."""

    seed, batch_size = 0, 2

    def train_dataloader(self):
        return DataLoader(Samples(), batch_size=2)

    crop_batches = train_dataloader

    def step_ids(self, step):
        return [f"image{2 * step}", f"image{2 * step + 1}"]

    def held_out_crops(self):
        return None


class Small(SegmentationNetwork):
    """Two convolutions with dropout, so that the random state matters."""

    def __init__(self):
        super().__init__(1)
        norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.Dropout(0.3), nn.Conv2d(4, 1, 1))

    def forward(self, x):
        return self.body(x)


class Stop(Callback):
    """Fails at the start of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise ZeroDivisionError


def train(folder, callbacks=()):
    """Weights after three epochs."""
    seed(0)
    module = Segmentation(Small(), Bce(), torch.optim.Adam, "cosine", 0.1, lambda maps: maps)
    network = fit(module, Data(), folder, 0.9, callbacks, max_epochs=3, accelerator="cpu")
    assert not network.training
    return network.state_dict()


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_gives_the_same_weights_and_a_stopped_run_too(tmp_path, capsys):
    first = train(tmp_path / "a")
    assert equal(first, train(tmp_path / "b"))
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "c", [Stop(2)])
    capsys.readouterr()
    assert equal(first, train(tmp_path / "c"))
    assert f"going on from {tmp_path / 'c' / 'last.ckpt'}" in capsys.readouterr().err


def test_a_training_killed_after_its_last_checkpoint_ends_with_the_same_weights(tmp_path):
    first = train(tmp_path / "a")
    assert (tmp_path / "a" / "last.ckpt").exists()
    assert equal(first, train(tmp_path / "a"))  # goes on from the last checkpoint, with nothing left to train


def test_statistics_of_batch_normalisation_are_those_of_the_averaged_weights(tmp_path):
    train(tmp_path)
    network, images = Small(), torch.stack([Samples()[n][0] for n in range(8)]).float() / 255
    network.load_state_dict(train(tmp_path))
    features = network.body[0](images)
    norm = network.body[1]
    assert torch.allclose(norm.running_mean, features.mean((0, 2, 3)), atol=1e-5)
    expected = torch.stack([f.var((0, 2, 3)) for f in features.split(2)]).mean(0)
    assert torch.allclose(norm.running_var, expected, rtol=1e-3)


class NotANumber(Small):
    """Its loss is NaN from step 9 on."""

    steps = 0

    def training_loss(self, *args):
        self.steps += self.training
        return super().training_loss(*args) * (float("nan") if self.steps > 9 else 1)


def test_a_loss_that_is_no_number_stops_and_names_the_images(tmp_path):
    module = Segmentation(NotANumber(), Bce(), torch.optim.Adam, "cosine", 0.1, lambda maps: maps)
    with pytest.raises(UserError, match="loss of step 10 is nan, on crops of image18, image19; look at"):
        fit(module, Data(), tmp_path, 0.9, max_epochs=3, accelerator="cpu")
    weights = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert weights["global_step"] == 8
    assert all(value.isfinite().all() for value in weights["current_model_state"].values())


class Marker:
    """Pickled, it makes a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path):
    torch.save({"state_dict": Marker(tmp_path / "ran")}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt holds more than numbers; delete it"):
        train(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_seeds_are_for_all_generators():
    draws = []
    for number in (1, 1, 2):
        seed(number)
        draws.append((float(torch.rand(1)), float(np.random.rand())))
    assert draws[0] == draws[1] and draws[0][0] != draws[2][0] and draws[0][1] != draws[2][1]


def test_precision_is_the_hardwares_unless_it_is_named(monkeypatch):
    assert precision("32-true") == "32-true"
    for bf16, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(trainer, "has_bf16", lambda bf16=bf16: bf16)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert precision("auto") == expected


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"no zip")
    with pytest.raises(UserError, match="is damaged at its directory"):
        train(tmp_path)


def layers(width: int, last: int) -> nn.Module:
    return nn.Sequential(nn.Linear(99, width), nn.Linear(width, last))


def test_layers_that_fit_are_taken_and_others_begin_anew(capsys):
    old, new = layers(4, 2), layers(4, 5)
    before = new[1].weight.clone()
    start_from(new, old.state_dict(), "old")
    assert torch.equal(new[0].weight, old[0].weight) and torch.equal(new[1].weight, before)
    assert "2 of 4 tensors from old" in (message := capsys.readouterr().err)
    assert "anew: 1.bias, 1.weight" in message


def test_an_encoder_is_taken_under_another_decoder(capsys):
    def network(arch: str) -> SmpNetwork:
        return SmpNetwork(arch, "tu-tf_efficientnet_lite0", None, 3)

    old, new = network("Unet"), network("Linknet")
    start_from(new, old.state_dict(), "old")
    for name, weight in new.body.encoder.state_dict().items():
        assert torch.equal(weight, old.body.encoder.state_dict()[name]), name
    assert "anew: body.decoder, body.segmentation_head" in capsys.readouterr().err


def test_the_same_network_starts_without_a_word(capsys):
    old, new = layers(4, 2), layers(4, 2)
    start_from(new, old.state_dict(), "old")
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert not capsys.readouterr().err


def test_a_network_of_which_nothing_fits_is_refused():
    with pytest.raises(UserError, match="old is of another network: 0% of the weights fit"):
        start_from(layers(4, 2), layers(7, 3).state_dict(), "old")


def test_a_checkpoint_that_is_cut_or_changed_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"weight": torch.zeros(500)}, path)
    check_checkpoint(path)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(UserError, match="is damaged at its directory; delete it to train"):
        check_checkpoint(path)
    at = data.index(bytes(1000)) + 500  # within the tensor
    path.write_bytes(data[:at] + b"x" + data[at + 1 :])
    with pytest.raises(UserError, match=r"is damaged at .*data/0"):
        check_checkpoint(path)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_freed_is_not_cleared_anew() -> None:
    faults = """
import resource, sys, torch
from nuclei.training.trainer import keep_freed_memory
if sys.argv[1:]:
    keep_freed_memory()
layer, images = torch.nn.Conv2d(8, 64, 3), torch.rand(8, 8, 128, 128)
faults = []
for _ in range(8):
    layer(images).relu().square().mean().backward()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[3])
"""
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", faults, *words])) for words in ([], ["keep"])
    )
    assert given_back > 4 * kept + 100


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


def at_epoch(epoch, **more):
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
    table.on_train_start(at_epoch(0), module)
    for epoch in (0, 1):
        table.on_train_epoch_end(at_epoch(epoch), module)
    resumed = MetricsTable(path)
    resumed.on_train_start(at_epoch(1), module)  # the second epoch runs again
    resumed.on_train_epoch_end(at_epoch(1, global_step=80), module)
    MetricsTable(path).on_train_epoch_end(at_epoch(2, is_global_zero=False), module)  # the first one writes
    assert path.read_text().splitlines()[0] == "epoch,step,seconds,lr,loss,val_loss,val_accuracy,val_iou,mAP"
    lines = read_metrics(path)
    assert [(r["epoch"], r["step"], r["loss"], r["mAP"]) for r in lines] == [
        ("0", "4", "1.0000", ""),
        ("1", "80", "0.5000", "0.2500"),
    ]
    assert training_seconds(lines) >= 0 and training_seconds([]) == 0


def test_progress_tells_the_time_that_is_left_from_where_a_run_went_on(module, capsys, monkeypatch):
    clock = iter((0.0, 5.0, 20.0))
    monkeypatch.setattr("nuclei.training.trainer.time.monotonic", lambda: next(clock))
    progress = PlainProgress()
    progress.on_train_start(at_epoch(0, global_step=2), module)
    progress.on_train_batch_end(at_epoch(0, global_step=3), module)
    progress.on_train_batch_end(at_epoch(0, global_step=4), module)
    assert capsys.readouterr().err == "train: epoch 1/3, step 4/12, 80 s left\n"
