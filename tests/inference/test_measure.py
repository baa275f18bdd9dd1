"""Measurements, outlines and classes of nuclei, and polygons that hold exactly their pixels, for QuPath."""

import json

import cv2
import numpy as np
import pytest
from skimage.measure import regionprops_table

from nuclei.data.sources.demo import draw_nuclei
from nuclei.inference.measure import (
    MEASUREMENTS,
    LabelPart,
    class_names,
    classify,
    geometry,
    measure,
    outline,
    polygons,
)

SKIMAGE = ("label", "area", "centroid", *list(MEASUREMENTS)[4:])


def test_measures_and_outlines():
    labels = np.zeros((8, 10), np.int32)
    labels[2:6, 3:7] = 1
    image = np.where(labels > 0, 200, 10).astype(np.uint8)
    table = measure(labels, image)
    row = [table[name].tolist() for name in ("label", "area", "y", "x", "mean_intensity")]
    assert row == [[1], [16], [3.5], [4.5], [200]]
    drawn = outline(image, labels)
    assert (drawn[2, 3] == (255, 220, 0)).all() and (drawn[3, 4] == 200).all() and (drawn[0, 0] == 10).all()
    assert list(table) == list(MEASUREMENTS.values())
    assert not any(map(len, measure(np.zeros_like(labels), image).values()))


@pytest.mark.parametrize("offset", [0, 20_000])
def test_measurements_are_those_of_scikit_image(offset):
    rng = np.random.default_rng(0)
    labels = np.zeros((140, offset + 170), np.int32)
    labels[:90, offset : offset + 130] = draw_nuclei(rng, (90, 130), 20, 8.0, 0.5)
    labels[100, offset + 3], labels[102, offset : offset + 7] = (
        50,
        51,
    )  # a pixel, a line
    labels[110:114, offset : offset + 4] = 52
    image = rng.integers(0, 255, labels.shape, dtype=np.uint8)
    expected, table = regionprops_table(labels, image, properties=SKIMAGE), measure(labels, image)
    for name, column in MEASUREMENTS.items():
        np.testing.assert_allclose(table[column], expected[name], rtol=1e-9, atol=1e-6, err_msg=column)
        assert table[column].dtype == expected[name].dtype, column


def test_the_class_is_the_highest_map_within_the_nucleus():
    labels = np.array([[1, 1, 0, 2]], np.int32)
    maps = np.array([[[9, 9, 9, 9]], [[200, 10, 255, 0]], [[90, 90, 0, 30]]], np.uint8)
    channels = ["nucleus", "class_a", "class_b"]
    assert class_names(channels) == ["a", "b"]
    assert classify(labels, maps, channels).tolist() == [0, 1]
    assert classify(labels, maps[:1], channels[:1]).tolist() == [0, 0]
    assert classify(np.zeros((1, 4), np.int32), maps, channels).size == 0


def test_strips_of_a_large_image_change_neither_intensities_nor_outlines(monkeypatch):
    rng = np.random.default_rng(0)
    labels = draw_nuclei(rng, (90, 70), 20, 8.0, 0.5)
    image = rng.integers(0, 255, (90, 70, 3), dtype=np.uint8)
    table, picture = measure(labels, image), outline(image, labels)
    assert np.allclose(table["mean_intensity"], [image[labels == k].mean() for k in table["label"]])
    monkeypatch.setattr("nuclei.inference.measure.STRIP", 700)
    assert np.allclose(measure(labels, image)["mean_intensity"], table["mean_intensity"])
    assert np.array_equal(outline(image, labels), picture)


def filled(geometry, shape):
    """Pixels whose centres lie within a geometry: OpenCV's test for each of them."""
    many = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    out = np.zeros(shape, bool)
    for y, x in np.ndindex(shape):
        for ring, *holes in many:
            hit = [cv2.pointPolygonTest(np.float32(r), (x + 0.5, y + 0.5), False) > 0 for r in (ring, *holes)]
            out[y, x] |= hit[0] and not any(hit[1:])
    return out


PICTURES = {
    "one pixel": ["#"],
    "a hole": ["####", "#..#", "####"],
    "two pieces, one with a hole": ["###.#", "#.#..", "###.#"],
    "a corner only": ["#.", ".#"],
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_polygon_holds_the_pixels_of_its_mask(name):
    mask = np.array([[c == "#" for c in row] for row in PICTURES[name]])
    assert np.array_equal(filled(geometry(mask, (0, 0)), mask.shape), mask)


def test_every_nucleus_of_an_image_comes_back():
    labels = draw_nuclei(np.random.default_rng(0), (60, 80), 12, 8, touching=0.5)
    count, table = labels.max(), measure(labels, labels)
    found = json.loads("".join(polygons([LabelPart(labels)], ["a"], table)))
    assert found["type"] == "FeatureCollection" and len(found["features"]) == count > 5
    for n, feature in enumerate(found["features"], 1):
        assert feature["properties"] == {
            "objectType": "detection",
            "name": str(n),
            "classification": {"name": "a", "color": [230, 159, 0]},
            "measurements": {
                "Area px^2": (labels == n).sum(),
                "Perimeter px": round(table["perimeter"][n - 1], 3),
                "Mean intensity": n,
            },
        }
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
        assert np.array_equal(filled(feature["geometry"], labels.shape), labels == n)


def test_numbers_far_above_those_of_pixels_take_no_memory_and_stay() -> None:
    labels = np.array([[0, 3, 3, 0], [0, 3, 0, 5], [0, 0, 0, 5]])
    image = np.arange(12.0).reshape(3, 4)
    table = measure(labels, image, {"dye": image + 1})
    far = measure(np.where(labels == 5, 2 * 10**9, labels), image, {"dye": image + 1})
    assert far.pop("label").tolist() == [3, 2 * 10**9] and table.pop("label").tolist() == [3, 5]
    assert all(np.array_equal(far[name], table[name]) for name in table)


def test_a_hole_is_one_of_the_smallest_ring_around_it() -> None:
    rows = ("1111111", "1000001", "1011101", "1010101", "1011101", "1000001", "1111111")
    mask = np.array([[pixel == "1" for pixel in row] for row in rows])
    shape = geometry(mask, (0, 0))
    assert [len(polygon) for polygon in shape["coordinates"]] == [2, 2]
    assert np.array_equal(filled(shape, mask.shape), mask)
