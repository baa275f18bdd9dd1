"""Readers of files that people bring: whatever bytes they hold, a reader returns or says why not.

``NUCLEI_STRIKES=all``, which ``./run.sh test faults`` sets, tries twenty times as many.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nuclei.config import compose_config
from nuclei.data.annotations import coco_labels, read_coco, read_geojson, read_label_map
from nuclei.data.folds import COLUMNS, read_folds
from nuclei.data.image_files import find_images
from nuclei.data.image_io import decode_image, decode_mask, read_images
from nuclei.data.sources import isbi2012
from nuclei.data.store import StoreRow, encode_image, read_index, write_store
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.errors import UserError
from nuclei.inference.model_file import read_model_file
from nuclei.kaggle.ledger import LedgerRow, read_ledger, write_row
from nuclei.kaggle.unpack import unpack
from nuclei.submission import rle
from nuclei.submission.csv_files import fix_submission, read_solution, read_submission
from nuclei.submission.rules import find_violations

TIMES = 20 if os.environ.get("NUCLEI_STRIKES") == "all" else 1
fuzz = settings(max_examples=60 * TIMES, derandomize=True)
fuzz_slow = settings(max_examples=12 * TIMES, derandomize=True)

SHAPE = (40, 50)
GREY = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
RGB = np.random.default_rng(1).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
SUBMISSION = b"ImageId,EncodedPixels\na,1 2 6 1\na,9 1\nb,\n"
SOLUTION = b"ImageId,EncodedPixels,Height,Width,Usage\na,1 2 6 1,40,50,Public\nb,3 1,40,50,Public\n"
RING = [[5, 5], [20, 5], [20, 20], [5, 5]]
GEOJSON = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [RING]}, "properties": {}}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 20, 5, 20, 20]]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"size": [40, 50], "counts": [9, 4, 1987]},
        },
    ],
    "categories": [{"id": 1, "name": "nucleus"}],
}


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """Return a TIFF file."""
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    """Return a zip file of one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, data)
    return out.getvalue()


def ledger() -> bytes:
    """Return a ledger of one row."""
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"ledger-{os.getpid()}.csv")
    try:
        write_row(path, LedgerRow(message="a try", sha256="0" * 64))
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def of_coco(path: Path) -> object:
    """Return the labels of each image of a COCO file."""
    found = read_coco(path) or {}
    return [coco_labels(objects, SHAPE, Counter(), name) for name, objects in found.items()]


def unpacked(path: Path) -> object:
    """Unpack a zip into a folder beside it."""
    return unpack(path, path.parent / "unpacked")


Reader = Callable[[Path], object]
FILES: dict[str, tuple[bytes, Reader]] = {
    "submission.csv": (SUBMISSION, read_submission),
    "checked.csv": (SUBMISSION, lambda path: find_violations(path, {"a": SHAPE, "b": SHAPE})),
    "fixed.csv": (SUBMISSION, lambda path: fix_submission(path.read_bytes(), ["a", "b"])),
    "submission.csv.zip": (zipped("submission.csv", SUBMISSION), read_submission),
    "solution.csv": (SOLUTION, read_solution),
    "folds.csv": ((",".join(COLUMNS) + "\na,0,0,fluorescence,40,50,3\n").encode(), read_folds),
    "list.csv": (b"path,group\na.png,1\nb.png,2\n", find_images),
    "ledger.csv": (b"", read_ledger),
    "a.geojson": (json.dumps([GEOJSON]).encode(), lambda path: read_geojson(path, SHAPE, Counter())),
    "coco.json": (json.dumps(COCO).encode(), of_coco),
    "labels.tif": (tiff(GREY.astype(np.uint16), compression="zlib"), read_label_map),
    "labels.png": (cv2.imencode(".png", GREY)[1].tobytes(), read_label_map),
    "grey.tif": (tiff(GREY), lambda path: list(read_images(path))),
    "imagej.tif": (
        tiff(np.stack([GREY] * 6).reshape(2, 3, *SHAPE), imagej=True),
        lambda path: list(read_images(path)),
    ),
    "ome.ome.tif": (
        tiff(np.stack([GREY] * 3), metadata={"axes": "CYX"}, ome=True),
        lambda path: list(read_images(path)),
    ),
    "tiled.tif": (tiff(RGB, tile=(16, 16), compression="zlib"), lambda path: list(read_images(path))),
    **{
        f"image{end}": (cv2.imencode(end, RGB)[1].tobytes(), lambda path: list(read_images(path)))
        for end in (".png", ".jpg", ".bmp", ".webp", ".jp2", ".ppm", ".tif")
    },
    "bytes.png": (cv2.imencode(".png", RGB)[1].tobytes(), lambda path: decode_image(path.read_bytes(), "x")),
    "mask.png": (cv2.imencode(".png", GREY)[1].tobytes(), lambda path: decode_mask(path.read_bytes(), "x")),
    "pages.tif": (tiff(np.stack([GREY] * 2)), isbi2012.pages),
    "archive.zip": (zipped("stage1_test/a/images/a.png", b"pixels"), unpacked),
    "store.store": (b"", read_index),
    "ensemble.yaml": (b"data: dsb2018\nsha256: 0\n", read_ensemble),
    "model.safetensors": (b"\x10\0\0\0\0\0\0\0" + b'{"__metadata__":{}}', read_model_file),
}

edits = st.lists(
    st.tuples(
        st.sampled_from(["put", "insert", "delete", "repeat", "cut"]),
        st.floats(0, 1),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from(
                [b"-1", b"99999999999999999999", b"1e400", b"\0\0\0\0", b"\xff" * 4, b'"', b",", b"[" * 5000]
            ),
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """Return a file after some changes."""
    for kind, where, text in changes:
        at = int(where * len(data))
        if kind == "put":
            data = data[:at] + text + data[at + len(text) :]
        elif kind == "insert":
            data = data[:at] + text + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(text) :]
        elif kind == "repeat":
            data = data[:at] + data[max(0, at - 16) :]
        else:
            data = data[:at]
    return data


def original(name: str, folder: Path) -> bytes:
    """Return the whole file; some are made by their writers."""
    if name == "ledger.csv":
        return ledger()
    if name == "store.store":
        row = StoreRow("a", "test", *SHAPE, 1, 0, "fluorescence", "a")
        write_store(folder / "whole", [(row, encode_image(GREY), None)])
        return (folder / "whole").read_bytes()
    return FILES[name][0]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_read_or_refused_with_a_reason(name, tmp_path):
    data, read, path = original(name, tmp_path), FILES[name][1], tmp_path / name

    @fuzz
    @given(st.one_of(edits.map(lambda changes: edited(data, changes)), st.binary(max_size=200)))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except UserError as e:
            assert str(e).strip()

    check()


@fuzz
@given(st.text(max_size=60))
def test_any_text_is_a_run_length_code_or_none(text):
    try:
        labels = rle.decode([text], SHAPE)
    except UserError:
        return
    assert labels.shape == SHAPE and labels.dtype == np.int32


SETTINGS = (
    "trainer.max_epochs",
    "augment.crop",
    "fold",
    "optimizer.lr",
    "model",
    "model.channels",
    "tta",
    "scales",
    "data",
)
VALUES = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=12),
    st.lists(st.integers(), max_size=3),
)


@fuzz_slow
@given(
    st.sampled_from(SETTINGS),
    st.one_of(VALUES.map(lambda v: yaml.safe_dump(v).split("\n")[0]), st.text(max_size=20)),
)
def test_any_setting_is_taken_or_refused_with_a_reason(key, value):
    try:
        compose_config("train", [f"{key}={value}"])
    except UserError as e:
        assert str(e).strip()
