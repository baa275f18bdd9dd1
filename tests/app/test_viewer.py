"""What the browser gets: a picture, and label maps whose colours are numbers."""

import base64
import json

import cv2
import numpy as np
import pytest

from nuclei.app import viewer


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
