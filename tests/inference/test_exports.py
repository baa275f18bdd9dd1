"""Polygons that hold exactly the pixels of their nucleus, in the form that QuPath reads."""

import json

import cv2
import numpy as np
import pytest

from nuclei.data.synthetic import draw_nuclei
from nuclei.inference.measure import geometry, to_geojson


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
    count = labels.max()
    text = to_geojson(labels, ["a"] * count, {"a": (1, 2, 3)}, [{"Area px^2": 5.0}] * count)
    found = json.loads(text)
    assert found["type"] == "FeatureCollection" and len(found["features"]) == count > 5
    for n, feature in enumerate(found["features"], 1):
        assert feature["properties"] == {
            "objectType": "detection",
            "name": str(n),
            "classification": {"name": "a", "color": [1, 2, 3]},
            "measurements": {"Area px^2": 5.0},
        }
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
        assert np.array_equal(filled(feature["geometry"], labels.shape), labels == n)
