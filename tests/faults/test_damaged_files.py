"""Every kind of file of the pipeline with a flipped bit or cut off: it is named, or nothing has changed.

Tables that people read and edit (``scores.csv``, ``metrics.csv``, ``nuclei.csv``) have no checksum.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from demo_pipeline import CSV, Baseline

from nuclei.atomic import read_json
from nuclei.data.folds import read_folds
from nuclei.data.image_io import read_images
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.ensemble.oof import OofFile
from nuclei.errors import UserError
from nuclei.inference.model_file import read_model_file
from nuclei.kaggle.ledger import read_ledger
from nuclei.paths import FoldFolder
from nuclei.submission.make_submission import read_record
from nuclei.training.environment import read_environment
from nuclei.training.run_folder import checked_weights, read_result, read_settings
from nuclei.training.trainer import check_checkpoint

FLIPS, CUTS = 200, 50
FOLD = "runs/demo/unet/default/fold0"
UNREADABLE = (UserError, zipfile.BadZipFile, ValueError)


def store(path: Path) -> object:
    """Return all that a store holds."""
    whole = Store(path)
    pixels = {image_id: whole.image(image_id) for image_id in (row.image_id for row in whole.index)}
    return whole.index, pixels, {i: whole.labels(i) for i in whole.ids("train")}


def out_of_fold(path: Path) -> object:
    """Return all that a file of out-of-fold maps holds."""
    with OofFile(path) as oof:
        return oof.channels, oof.folds_sha256, {image_id: oof.read(image_id) for image_id in oof.ids}


def checkpoint(path: Path) -> object:
    """Return the checksums of all that a checkpoint holds, which the members were found to have."""
    check_checkpoint(path)
    with zipfile.ZipFile(path) as z:
        return {info.filename: info.CRC for info in z.infolist()}


def model(path: Path) -> object:
    """Return the settings, weights and graph of a model file."""
    file = read_model_file(path)
    return file.settings, dict(file.weights), file.graph


def bundle(path: Path) -> object:
    """Return the members of the bundle; notebooks unpack it with the standard library."""
    with zipfile.ZipFile(path) as z:
        return {name: z.read(name) for name in z.namelist()}


def record(path: Path) -> object:
    """Return how a submission was made: None where the file is another than the one that was made."""
    return read_record(path.with_suffix(".csv"))


def weights(path: Path) -> object:
    """Return the bytes of a fold's weights."""
    return checked_weights(FoldFolder(path.parent)).read_bytes()


def pixels(path: Path) -> object:
    """Return the pixels of an image."""
    return [image.pixels for image in read_images(path)]


READERS: dict[str, Callable[[Path], object]] = {
    "data/demo.store": store,
    "data/demo_folds.csv": read_folds,
    f"{FOLD}/config.json": lambda path: read_settings(FoldFolder(path.parent)),
    f"{FOLD}/done.json": lambda path: read_result(FoldFolder(path.parent)),
    f"{FOLD}/environment.json": read_environment,
    f"{FOLD}/last.ckpt": checkpoint,
    f"{FOLD}/model.safetensors": weights,
    f"{FOLD}/oof.npz": out_of_fold,
    "ensembles/demo/default/ensemble.yaml": read_ensemble,
    "out/box.safetensors": model,
    f"{CSV[:-4]}.json": record,
    CSV: record,
    "submissions/ledger.csv": read_ledger,
    "kernels/dataset/nuclei.zip": bundle,
    "predictions/predict.json": read_json,
    "an image.png": pixels,
}


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_or_a_missing_end_is_named_or_changes_nothing(
    baseline: Baseline, name: str, tmp_path: Path
) -> None:
    original = image_of(baseline) if name == "an image.png" else baseline.finished / name
    path = tmp_path / "runs" / "of" / "a" / name
    path.parent.mkdir(parents=True)
    for beside in original.parent.iterdir():
        if beside.is_file():
            os.link(beside, path.parent / beside.name)
    read = READERS[name]
    path.unlink(missing_ok=True)  # the link: what is damaged is a copy
    shutil.copyfile(original, path)
    whole, passed = read(path), []
    assert whole is not None
    for what in damages(path):
        try:
            found = read(path)
        except UNREADABLE as e:
            assert str(e) and "\n" not in str(e)
        else:
            # A record of another file than the one that lies there is said to be so.
            if not equal(found, whole) and not (read is record and found is None):
                passed.append(what)
    assert not passed


def damages(path: Path) -> Iterator[str]:
    """Flip a bit of a file at places spread over it, one at a time; then cut the file ever shorter."""
    size = path.stat().st_size
    with open(path, "r+b", buffering=0) as f:
        for place in np.linspace(0, size - 1, FLIPS).astype(int).tolist():
            byte = os.pread(f.fileno(), 1, place)
            os.pwrite(f.fileno(), bytes([byte[0] ^ 1 << place % 8]), place)
            yield f"bit {place % 8} of byte {place}"
            os.pwrite(f.fileno(), byte, place)
        for length in np.unique(np.linspace(0, size - 1, CUTS).astype(int))[::-1].tolist():
            f.truncate(length)
            yield f"cut to {length} bytes"


def image_of(baseline: Baseline) -> Path:
    """Return an image of the demo set; OpenCV reads it, and leaves its checksums to libpng."""
    path = next((baseline.finished / "data/demo/stage1_test").rglob("*.png"))
    assert cv2.imread(str(path)) is not None
    return path


def equal(a: object, b: object) -> bool:
    """Return whether two values are the same, arrays in them too."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and not hasattr(a, "_fields"):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)
