"""The whole road on a tiny demo set, through ./run.sh itself."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.sh"
ENV = os.environ | {"NUCLEI_PYTHON": sys.executable}
DATA = ["data=demo", "data.source.n_train=8", "data.source.n_test=2"]
TINY = [
    "augment.crop=64",
    "batch_size=4",
    "samples_per_epoch=16",
    "tta=1",
    "trainer.max_epochs=1",
    "model.network.encoder=mobilenet_v2",
]


def run(cwd: Path, *words: str, status: int = 0) -> str:
    """Run a command and return all that it printed."""
    done = subprocess.run(
        [str(RUN), *words],
        cwd=cwd,
        env=ENV,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a prepared demo set of two folds."""
    place = tmp_path_factory.mktemp("road")
    assert "8 training images" in run(place, "prepare", *DATA)
    assert "fold 1:" in run(place, "folds", *DATA, "n_folds=2")
    return place


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_all_ends_in_a_valid_submission_and_skips_what_is_done(place):
    settings = ["all", *DATA, f"train={' '.join(TINY)}", "ensemble=trials=4 refine=1"]
    out = run(place, *settings)
    assert out.count("wrote runs/demo/") == 4
    csv = place / "submissions" / "demo_default.csv"
    assert "valid" in run(place, "validate", f"submission={csv}", *DATA)
    assert run(place, "score", f"submission={csv}", *DATA).splitlines()[-1].startswith("mAP 0.")
    before = sha(csv)
    again = run(place, *settings)
    assert again.count("finished before: runs/demo/") == 4 and "wrote runs/" not in again
    assert sha(csv) == before
    folder = place / "runs" / "demo" / "unet" / "default" / "fold0"
    assert {
        "config.json",
        "last.ckpt",
        "model.safetensors",
        "metrics.csv",
        "tensorboard",
        "oof.npz",
        "done.json",
    } <= {p.name for p in folder.iterdir()}
    assert run(place, "score", "run=unet/default", *DATA).splitlines()[-1].startswith("mAP 0.")


def test_the_same_seed_gives_the_same_weights_and_another_does_not(place):
    train = [*DATA, *TINY, "model=linknet", "fold=1"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(place, *train, f"name={name}", f"seed={seed}")
    a, b, c = (sha(place / f"runs/demo/linknet/{name}/fold1/model.safetensors") for name in "abc")
    assert a == b != c


def test_a_killed_run_goes_on_and_ends_where_an_unbroken_one_does(place):
    train = [*DATA, *TINY, "trainer.max_epochs=4", "model=linknet", "fold=0"]
    run(place, *train, "name=unbroken")
    folder = place / "runs/demo/linknet/broken/fold0"
    process = subprocess.Popen([str(RUN), *train, "name=broken"], cwd=place, env=ENV, start_new_session=True)
    limit = time.monotonic() + 120
    while not (folder / "last.ckpt").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "done.json").exists()
    assert "going on from" in run(place, *train, "name=broken")
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == list("0123")
    unbroken = place / "runs/demo/linknet/unbroken/fold0"
    assert sha(folder / "model.safetensors") == sha(unbroken / "model.safetensors")


def test_errors_are_one_line(place):
    assert "fold=7: expected 0 to 1" in run(place, *DATA, "fold=7", status=2)
    assert "no ensemble at" in run(place, "submission", *DATA, "ensemble=nope", status=2)
    assert "no competition data at" in run(place, "data=dsb2018", "data.root=nowhere", status=2)
    run(place, *DATA, *TINY, "name=mine")
    assert "was begun with seed=0" in run(place, *DATA, *TINY, "name=mine", "seed=5", status=2)
    folder = place / "runs/demo/linknet/mine/fold0"
    (folder / "done.json").unlink()
    (folder / "model.safetensors").unlink()
    checkpoint = folder / "last.ckpt"
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint.write_bytes(data)
    assert "last.ckpt is damaged at" in run(place, *DATA, *TINY, "name=mine", status=2)
