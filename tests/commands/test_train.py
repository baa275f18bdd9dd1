"""``./run.sh train``: what is refused before anything is drawn or trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nuclei.cli import main
from nuclei.training.callbacks import read_metrics
from nuclei.training.run_folder import is_first_process


def test_a_fold_that_will_not_be_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data=demo", "fold=9"]) == 2
    assert "fold=9: expected 0 to 4, the folds of" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, True),  # left over; there is one process
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"WORLD_SIZE": "2", "NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, False),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, True),
    ],
)
def test_one_process_is_the_first(
    environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


# Without batch normalisation, whose statistics are of a process's own share, and with a loss that is a mean.
SMALL = [
    "data=demo",
    "data.source.n_train=10",
    "data.source.n_test=1",
    "fold=0",
    "model=barge2019_unet",
    "loss=bce",
    "tta=1",
    "model.network.features=[4,8]",
    "augment=default",
    "augment.crop=128",
    "diameter=null",
    "scales=[1]",
    "val_crops=4",
    "batch_size=4",
    "samples_per_epoch=8",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
]


def test_two_processes_train_as_one_with_the_same_batches(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    tables, maps = [], []
    for name, start, more in (("two", torchrun, ["trainer.devices=2"]), ("one", [], [])):  # two draw the demo
        words = [sys.executable, *start, "-m", "nuclei", "train", *SMALL, f"name={name}", *more]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "runs" / "demo" / "barge2019_unet" / name / "fold0"
        assert done.stdout.count(f"wrote {folder.relative_to(tmp_path)};") == 1
        lines = read_metrics(folder / "metrics.csv")
        tables.append(
            [[float(line[key]) for key in ("step", "loss", "val_loss", "mAP") if line[key]] for line in lines]
        )
        maps.append(dict(np.load(folder / "oof.npz")))
    for two, one in zip(*tables, strict=True):
        assert two == pytest.approx(one, abs=1e-4)
    assert maps[0].keys() == maps[1].keys()
    for key in maps[0].keys() - {"channels", "folds_sha256"}:
        assert np.abs(maps[0][key].astype(int) - maps[1][key]).max() <= 1
