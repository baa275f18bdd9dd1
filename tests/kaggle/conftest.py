"""A local Kaggle, tiny finished runs on drawn images, and the wheels that pip would fetch, all offline."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from nuclei.cli import main
from nuclei.data.folds import folds_sha256
from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun, write_ensemble
from nuclei.paths import RunName

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from kaggle_server import KaggleServer

REPO = Path(__file__).parents[2]
DATA = ["data=demo", "data.source.n_train=4", "data.source.n_test=3"]
TINY = ["augment.crop=64", "batch_size=2", "samples_per_epoch=4", "tta=2", "trainer.max_epochs=1"]
TINY += ["model=linknet", "model.network.encoder=mobilenet_v2", "trainer.limit_val_batches=0"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KaggleServer]:
    """A local Kaggle, to which this process' requests go, with the right user and key."""
    for name in [*os.environ]:
        if name.startswith("KAGGLE_") or "proxy" in name.lower():
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    with KaggleServer() as running:
        for name, value in running.environment(str(tmp_path / "home")).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with demo data, two members of two folds, and an ensemble of them."""
    place = tmp_path_factory.mktemp("bundle")
    with chdir(place):
        for words in (["prepare", *DATA], ["folds", *DATA, "n_folds=2"]):
            assert main(words) == 0
        for fold in ("fold=0", "fold=1"):
            assert main([*DATA, *TINY, fold]) == 0
            assert main([*DATA, "model=otsu", fold]) == 0
        steps = {"_target_": "nuclei.postprocess.components.Components", "low": 0.5, "high": 0.5}
        members = [("linknet", 0.25), ("otsu", 0.75)]
        weighted = tuple(WeightedRun(RunName(model, "default"), weight) for model, weight in members)
        sha256 = folds_sha256(place / "data/demo_folds.csv")
        ensemble = EnsembleFile("demo", sha256, 2, ("nucleus",), weighted, (steps,), 0.25, 0.5)
        write_ensemble(place / "ensembles/demo/default/ensemble.yaml", ensemble)
    return place


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the one to work in."""
    monkeypatch.chdir(made)
    return made


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of each package that the bundle names, made of what is installed here."""
    shelf = tmp_path_factory.mktemp("shelf")
    pins = (REPO / "kernels/dataset/wheels.txt").read_text()
    for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE):
        repack(importlib.metadata.distribution(name), shelf)
    return shelf


def repack(package: importlib.metadata.Distribution, shelf: Path) -> None:
    """Turn an installed pure-Python package back into a wheel."""
    name = re.sub("[-_.]+", "_", package.name).lower()
    kept = [
        f for f in package.files or () if ".." not in f.parts and f.suffix != ".pyc" and f.name != "RECORD"
    ]
    contents = {f.as_posix(): Path(str(f.locate())).read_bytes() for f in kept}
    folder = next(f.parent.as_posix() for f in kept if f.name == "METADATA")
    hashes = {
        k: base64.urlsafe_b64encode(hashlib.sha256(v).digest()).rstrip(b"=") for k, v in contents.items()
    }
    record = "".join(f"{k},sha256={hashes[k].decode()},{len(v)}\n" for k, v in contents.items())
    contents[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    with zipfile.ZipFile(shelf / f"{name}-{package.version}-py3-none-any.whl", "w") as z:
        for path, data in contents.items():
            z.writestr(path, data)


@pytest.fixture
def offline_pip(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip find its packages on the shelf, and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return shelf
