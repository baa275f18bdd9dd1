"""Measurements, outlines and classes of nuclei."""

import numpy as np

from nuclei.data.synthetic import draw_nuclei
from nuclei.inference.measure import MEASUREMENTS, class_names, classify, measure, outline


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
