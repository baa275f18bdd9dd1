"""What the browser gets: a picture, label maps whose colours are numbers, and files with the same nuclei."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from roifile import ImagejRoi

from nuclei.app import viewer
from nuclei.app.viewer import DOWNLOADS
from nuclei.submission import rle


def decoded(uri):
    """The image in a data URI, as OpenCV reads it."""
    data = base64.b64decode(uri.split(",")[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_the_browser_gets_every_number():
    labels = np.array([[0, 1, 255, 256, 65535, 65536, 2**24 - 1]], np.int32)
    blue, green, red = np.moveaxis(viewer.as_bgr(labels).astype(int), -1, 0)
    assert np.array_equal(blue + 256 * green + 65536 * red, labels)


def test_the_overlay_holds_the_nuclei(segmentation):
    shown = json.loads(viewer.overlay(segmentation))
    blue, green, red = np.moveaxis(decoded(shown["labels"]).astype(int), -1, 0)
    assert np.array_equal(blue + 256 * green + 65536 * red, segmentation.labels)
    assert shown["areas"] == np.bincount(segmentation.labels.ravel())[1:].tolist()
    assert {row["name"]: row["count"] for row in shown["legend"]} == segmentation.counts


@pytest.mark.parametrize(
    ("shape", "mime", "size"),
    [
        ((30, 40), "image/png", (30, 40)),
        ((30, 40, 3), "image/png", (30, 40)),
        ((4096, 64), "image/jpeg", (2048, 32)),
    ],
)
def test_large_pictures_are_shown_smaller_as_jpeg(shape, mime, size):
    image = np.full(shape, 90, np.uint8)
    image[..., 0] = 200
    uri = viewer.picture(image)
    assert uri.startswith(f"data:{mime};base64,") and decoded(uri).shape[:2] == size
    if len(shape) == 3:
        assert decoded(uri)[0, 0].tolist() == [90, 90, 200], "red comes first in the image, last in OpenCV"


WRITE = {download.ending: download.write for download in DOWNLOADS}


def test_counts_of_the_legend_are_those_of_the_csv(segmentation):
    table = pd.read_csv(io.BytesIO(WRITE["_nuclei.csv"](segmentation)))
    assert table["class"].value_counts().to_dict() == segmentation.counts
    assert set(segmentation.counts) == {"left", "right"} and min(segmentation.counts.values()) > 20
    assert (table.loc[table.x < 340, "class"] == "left").all()


def test_files_hold_the_label_map(segmentation):
    label_map = tifffile.imread(io.BytesIO(WRITE["_labels.tif"](segmentation)))
    assert label_map.dtype == np.uint16 and np.array_equal(label_map, segmentation.labels)
    rows = pd.read_csv(io.BytesIO(WRITE["_rle.csv"](segmentation)))
    assert set(rows.ImageId) == {"a"}
    decoded = rle.decode(rows.EncodedPixels.tolist(), segmentation.labels.shape)
    assert np.array_equal(decoded, segmentation.labels)
    outlines = json.loads(WRITE[".geojson"](segmentation))["features"]
    assert [f["properties"]["name"] for f in outlines] == [str(n) for n in range(1, len(outlines) + 1)]
    assert len(outlines) == len(rows)


def test_imagej_gets_the_outline_of_each_nucleus(segmentation):
    with zipfile.ZipFile(io.BytesIO(WRITE["_rois.zip"](segmentation))) as rois:
        assert len(rois.namelist()) == len(segmentation.classes)
        first = ImagejRoi.frombytes(rois.read("1.roi"))
    y, x = np.nonzero(segmentation.labels == 1)
    assert (first.left, first.top) == (x.min(), y.min())


def test_an_image_without_nuclei_can_be_downloaded(empty):
    assert all(write(empty) for write in WRITE.values())


def test_a_table_holds_no_formulas(segmentation):
    evil = replace(segmentation, name="-1+1", class_names=["=HYPERLINK(1)", "@SUM(A1)"])
    table = pd.read_csv(io.BytesIO(WRITE["_nuclei.csv"](evil)), dtype=str)
    assert set(table["image"]) == {"'-1+1"} and set(table["class"]) == {"'=HYPERLINK(1)", "'@SUM(A1)"}
