"""``./run.sh train``: what is refused before anything is drawn or trained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nuclei.cli import main
from nuclei.paths import FoldFolder
from nuclei.training.run_folder import is_first_process, read_result
from nuclei.training.trainer import read_metrics


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


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
RUNS = "runs/demo/barge2019_unet"


def train_small(place: Path, name: str, n_processes: int) -> Path:
    """Train in one process or in two, and return the folder of the fold."""
    start, more = (TORCHRUN, [f"trainer.devices={n_processes}"]) if n_processes > 1 else ((), [])
    words = [sys.executable, *start, "-m", "nuclei", "train", *SMALL, f"name={name}", *more]
    done = subprocess.run(words, cwd=place, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"wrote {RUNS}/{name}/fold0;") == 1
    return place / RUNS / name / "fold0"


def test_two_processes_train_as_one_with_the_same_batches(tmp_path: Path) -> None:
    tables, maps = [], []
    for name, n_processes in (("two", 2), ("one", 1)):  # two draw the demo
        folder = train_small(tmp_path, name, n_processes)
        lines = read_metrics(folder / "metrics.csv")
        tables.append(
            [[float(line[key]) for key in ("step", "loss", "val_loss", "mAP") if line[key]] for line in lines]
        )
        maps.append(dict(np.load(folder / "oof.npz")))
    for two, one in zip(*tables, strict=True):
        assert two == pytest.approx(one, abs=1e-4)
    assert maps[0].keys() == maps[1].keys()
    for key in maps[0].keys() - {"channels", "folds_sha256", "store_sha256"}:
        assert np.abs(maps[0][key].astype(int) - maps[1][key]).max() <= 1

    # With the same weights, maps and score are the same to the last bit, however many processes predict.
    one = FoldFolder(folder)
    expected, result = (one.maps.read_bytes(), one.weights.read_bytes()), read_result(one)
    one.maps.unlink()
    one.result.unlink()
    train_small(tmp_path, "one", 2)
    assert (one.maps.read_bytes(), one.weights.read_bytes()) == expected
    again = read_result(one)
    assert (
        result and again and again.mean_precision == result.mean_precision and again.images == result.images
    )


def process_with(word: str, place: Path) -> int:
    """Return the process below a folder that has a word in its command line."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                word.encode() in (path / "cmdline").read_bytes().split(b"\0")
                and (path / "cwd").readlink() == place
            ):
                return int(path.name)
    raise AssertionError(f"no process has {word}")


def test_a_sweep_whose_run_is_killed_is_finished_by_the_same_command(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "nuclei",
        "-m",
        *SMALL[:3],
        "fold=0,1",
        *SMALL[4:],
        "trainer.max_epochs=30",
    ]
    words += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    first, second = (FoldFolder(tmp_path / RUNS / "default" / f"fold{n}") for n in (0, 1))
    with subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as sweep:
        while not first.checkpoint.exists():
            assert sweep.poll() is None
            time.sleep(0.05)
        os.kill(process_with("fold=0", tmp_path), signal.SIGKILL)
        said = sweep.communicate()[1]
    assert (
        sweep.returncode == 2 and "error: 1 of 2 runs failed: ./run.sh train " in said and " fold=0 " in said
    )
    assert not first.result.exists() and read_result(second)
    done = second.result.stat().st_mtime_ns
    subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, check=True)
    assert read_result(first) and second.result.stat().st_mtime_ns == done
    steps = [int(float(line["step"])) for line in read_metrics(first.metrics) if line["step"]]
    assert steps == sorted(set(steps))  # it went on where it was
