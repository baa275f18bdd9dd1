"""The whole pipeline on a tiny demo set, through ./run.sh itself."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.numpy

from nuclei.atomic import read_json, write_json

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
LINKNET = [*DATA, *TINY, "model=linknet"]


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
    place = tmp_path_factory.mktemp("end_to_end")
    assert "8 training images" in run(place, "prepare", *DATA)
    assert "fold 1:" in run(place, "folds", *DATA, "n_folds=2")
    return place


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_all_ends_in_a_valid_submission_and_skips_what_is_done(place):
    settings = [
        "all",
        *DATA,
        "models=[linknet,unet]",
        f"train={{{','.join(word.replace('=', ':') for word in TINY)}}}",
        "ensemble={trials:4,refine:1}",
    ]
    out = run(place, *settings)
    assert out.count("wrote runs/demo/") == 4
    file = place / "submissions" / "demo_default.csv"
    assert "valid" in run(place, "validate", f"submission={file}", *DATA)
    assert run(place, "score", f"submission={file}", *DATA).splitlines()[-1].startswith("mAP 0.")
    before = sha(file)
    again = run(place, *settings)
    assert again.count("finished before: runs/demo/") == 4 and "wrote runs/" not in again
    assert sha(file) == before
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


def test_predict_with_one_file_and_with_the_ensemble(place):
    weights = place / "box.safetensors"
    source = ["run=unet/default", "fold=0", "ensemble=default", "data=demo"]
    assert "MB, sha256" in run(place, "export", *source, f"output={weights}")
    (place / "data/demo/stage1_test/broken.png").write_bytes(b"no image")
    words = ["predict", "input=data/demo/stage1_test"]
    out = run(place, *words, f"weights={weights}", status=2)
    assert "broken.png is no image" in out and "1 files skipped" in out
    predictions = place / "predictions"
    names = {row["ImageId"] for row in csv.DictReader((predictions / "submission.csv").open())}
    assert names == {path.stem for path in (predictions / "labels").iterdir()} and len(names) == 2
    for name in names:
        labels = cv2.imread(str(predictions / "labels" / f"{name}.tif"), cv2.IMREAD_UNCHANGED)
        picture = cv2.imread(str(predictions / "overlays" / f"{name}.png"))
        assert labels.dtype == np.uint16 and picture.shape[:2] == labels.shape
        rows = [r for r in csv.DictReader((predictions / "nuclei.csv").open()) if r["image"] == name]
        assert [float(r["area"]) for r in rows] == np.bincount(labels.ravel())[1:].tolist()
    (place / "data/demo/stage1_test/broken.png").unlink()
    out = run(place, *words, "ensemble=default", "data=demo", "output=voted", "tta=1", "save=[labels]")
    assert "wrote voted" in out and not (place / "voted/overlays").exists()
    path = place / "runs/demo/unet/default/fold1/config.json"
    settings = read_json(path)
    write_json(path, settings | {"model": settings["model"] | {"channels": ["nucleus", "border", "centre"]}})
    out = run(place, *words, "ensemble=default", "data=demo", "output=voted", status=2)
    assert "fold1 has other maps than the ensemble averages; run ./run.sh ensemble again" in out
    write_json(path, settings)


def test_every_image_can_be_trained_on_and_a_run_can_start_from_another(place):
    assert "no image held out" in run(place, *LINKNET, "fold=all", "name=whole")
    assert not (place / "runs/demo/linknet/whole/foldall/oof.npz").exists()
    run(place, *LINKNET, "fold=0", "name=first")
    out = run(place, *LINKNET, "fold=0", "name=second", "init=linknet/first", "optimizer.lr=1e-30")
    assert "out-of-fold mAP" in out
    first, second = (
        safetensors.numpy.load_file(place / f"runs/demo/linknet/{name}/fold0/model.safetensors")
        for name in ("first", "second")
    )
    assert all(np.allclose(a, second[k], atol=1e-6) for k, a in first.items() if k.endswith("weight"))
    out = run(place, *LINKNET, "fold=1", "name=second", "init=linknet/first", status=2)
    assert "init=linknet/first: expected MODEL/NAME, a run whose fold 1 is finished" in out
    out = run(place, "reproduce", "data=demo", "run=linknet/first")
    assert "./run.sh train data=demo fold=0 model=linknet name=again data.source.n_train=8" in out
    assert not [
        line for line in out.splitlines() if line.startswith(("data:", "folds:", "setting", "package"))
    ]
    folds, text = place / "data/demo_folds.csv", (place / "data/demo_folds.csv").read_text()
    folds.write_text(text.replace(",0,", ",1,", 1))
    assert "folds: data/demo_folds.csv is another file" in run(
        place, "reproduce", "data=demo", "run=linknet/first"
    )
    folds.write_text(text)


def test_a_training_starts_from_a_model_file(place):
    run(place, *LINKNET, "fold=all", "name=whole")
    weights = place / "whole.safetensors"
    run(place, "export", "data=demo", "run=linknet/whole", f"output={weights}")
    run(place, *LINKNET, "fold=all", "name=third", f"init={weights}", "optimizer.lr=1e-30")
    words = ["export", "data=demo", "run=linknet/third", f"output={place / 'third.safetensors'}"]
    assert "MB, sha256" in run(place, *words, "ensemble=box")
    out = run(place, *words[:2], "run=linknet/third", "ensemble=missing", status=2)
    assert "missing" in out and "ensemble" in out
    first, third = (
        safetensors.numpy.load_file(place / f"runs/demo/linknet/{name}/foldall/model.safetensors")
        for name in ("whole", "third")
    )
    assert all(np.allclose(a, third[k], atol=1e-3) for k, a in first.items() if k.endswith("weight"))
    assert "whole.safetensors is damaged" in run(
        place, *LINKNET, "fold=0", "name=fourth", f"init={damaged(weights)}", status=2
    )
    out = run(place, "model=linknet", "fold=0", "data=dsb2018", "init=box", status=2)
    assert "init=box: a model file may have seen the held-out images of data=dsb2018; choose fold=all" in out


def damaged(path: Path) -> Path:
    """Change one byte of a file's tensors."""
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    return path


def test_the_same_seed_gives_the_same_weights_and_another_does_not(place):
    train = [*LINKNET, "fold=1"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(place, *train, f"name={name}", f"seed={seed}")
    a, b, c = (sha(place / f"runs/demo/linknet/{name}/fold1/model.safetensors") for name in "abc")
    assert a == b != c


def test_a_killed_run_goes_on_and_ends_where_an_unbroken_one_does(place):
    train = [*LINKNET, "trainer.max_epochs=4", "fold=0"]
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
    softmax = ["model=haigh2018_softmax", "name=mine", *DATA, *TINY[:-1]]
    said = "model=haigh2018_softmax ends in softmax: choose loss=cross_entropy"
    assert said in run(place, *softmax, status=2)
    run(place, *softmax, "loss=cross_entropy")  # as it says
    out = run(place, *LINKNET, "name=mine")
    assert f"next: ./run.sh fold=1 data=demo model=linknet name=mine {' '.join([*DATA[1:], *TINY])}" in out
    assert "was begun with seed=0" in run(place, *LINKNET, "name=mine", "seed=5", status=2)
    folder = place / "runs/demo/linknet/mine/fold0"
    (folder / "done.json").unlink()
    (folder / "model.safetensors").unlink()
    checkpoint = folder / "last.ckpt"
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint.write_bytes(data)
    assert "last.ckpt is damaged at" in run(place, *LINKNET, "name=mine", status=2)
