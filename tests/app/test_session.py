"""What the page shows and lets one take home are the same nuclei."""

import base64
import io
import json
import time

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from nuclei.app import viewer
from nuclei.app.downloads import KINDS
from nuclei.app.upload_session import Session, find
from nuclei.data.synthetic import draw_nuclei
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.small_objects import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed
from nuclei.submission import rle

STEPS = [MapWatershed(0.5, 0.8, 0.4, 0.4, 0.6, 1.0), RemoveSmall(20)]
CHANNELS = ["nucleus", "border", "distance", "class_left", "class_right"]
MODEL = Segmenter([], CHANNELS, STEPS)
MAKE = dict(KINDS.values())


def maps_of(labels):
    """Maps as a good network would give them: classes are the halves of the image."""
    inside = labels > 0
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / 12
    right = np.arange(labels.shape[1]) >= labels.shape[1] // 2
    maps = [inside, 0 * inside, np.minimum(distance, 1) * inside, inside & ~right, inside & right]
    return (np.stack(maps) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def found():
    labels = draw_nuclei(np.random.default_rng(0), (520, 696), 200, 12, touching=0.3)
    image = np.where(labels > 0, 180, 20).astype(np.uint8)
    session = Session({"a": image}, {"a": maps_of(labels)})
    return session.found("a", MODEL, {})


def test_the_table_is_what_scikit_image_measures(found):
    table, measured = found.table(), found.measured()
    assert len(table) > 100 and found.labels.max() == len(table)
    for quick, full in (("nucleus", "label"), ("class", "class"), ("area (px²)", "area")):
        assert table[quick].tolist() == measured[full].tolist()
    for quick, full in (("x", "x"), ("y", "y"), ("mean intensity", "mean_intensity")):
        assert np.allclose(table[quick], measured[full], atol=0.051)


def test_counts_of_the_legend_are_those_of_the_csv(found):
    table = pd.read_csv(io.BytesIO(MAKE["_nuclei.csv"](found)))
    assert table["class"].value_counts().to_dict() == found.counts
    assert set(found.counts) == {"left", "right"} and min(found.counts.values()) > 20
    assert (table.loc[table.x < 340, "class"] == "left").all()


def test_files_hold_the_label_map(found):
    label_map = tifffile.imread(io.BytesIO(MAKE["_labels.tif"](found)))
    assert label_map.dtype == np.uint16 and np.array_equal(label_map, found.labels)
    rows = pd.read_csv(io.BytesIO(MAKE["_rle.csv"](found)))
    assert set(rows.ImageId) == {"a"}
    assert np.array_equal(rle.decode(rows.EncodedPixels.tolist(), found.labels.shape), found.labels)
    outlines = json.loads(MAKE[".geojson"](found))["features"]
    assert [f["properties"]["name"] for f in outlines] == [str(n) for n in range(1, len(outlines) + 1)]
    assert len(outlines) == len(rows)


def test_the_browser_gets_every_number():
    labels = np.array([[0, 1, 255, 256, 65535, 65536, 2**24 - 1]], np.int32)
    blue, green, red = np.moveaxis(viewer.as_bgr(labels).astype(int), -1, 0)
    assert np.array_equal(blue + 256 * green + 65536 * red, labels)


def test_the_overlay_says_what_was_found(found):
    shown = json.loads(viewer.as_value(viewer.overlay(found)))
    png = np.frombuffer(base64.b64decode(shown["labels"].split(",")[1]), np.uint8)
    b, g, r = np.moveaxis(cv2.imdecode(png, cv2.IMREAD_COLOR).astype(int), -1, 0)
    assert np.array_equal(b + 256 * g + 65536 * r, found.labels)
    assert shown["areas"] == np.bincount(found.labels.ravel())[1:].tolist()
    assert {row["name"]: row["count"] for row in shown["legend"]} == found.counts


def test_an_image_without_nuclei_can_be_shown_and_saved():
    none = find("e", np.zeros((30, 40), np.uint8), np.zeros((5, 30, 40), np.uint8), MODEL, {})
    assert none.table().empty and none.counts == {"left": 0, "right": 0}
    assert viewer.overlay(none)["areas"] == []
    assert all(make(none) for make in MAKE.values())


def test_other_settings_answer_at_once(found):
    labels = draw_nuclei(np.random.default_rng(0), (520, 696), 200, 12, touching=0.3)
    maps = maps_of(labels)

    def seconds():
        start = time.perf_counter()
        again = find("a", found.image, maps, MODEL, {"low": 0.4, "min_area": 300})
        viewer.as_value(viewer.overlay(again)), again.table()
        return time.perf_counter() - start

    assert min(seconds() for _ in range(7)) < 0.1
    assert len(find("a", found.image, maps, MODEL, {"min_area": 300}).classes) < len(found.classes)
