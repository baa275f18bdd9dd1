"""Measurements, outlines and classes of nuclei."""

import numpy as np

from nuclei.inference.measure import class_names, classify, measure, outline


def test_measures_and_outlines():
    labels = np.zeros((8, 10), np.int32)
    labels[2:6, 3:7] = 1
    image = np.where(labels > 0, 200, 10).astype(np.uint8)
    row = measure(labels, image).iloc[0]
    assert (row.label, row.area, row.y, row.x, row.mean_intensity) == (1, 16, 3.5, 4.5, 200)
    drawn = outline(image, labels)
    assert (drawn[2, 3] == (255, 220, 0)).all() and (drawn[3, 4] == 200).all() and (drawn[0, 0] == 10).all()
    assert measure(np.zeros_like(labels), image).empty


def test_the_class_is_the_highest_map_within_the_nucleus():
    labels = np.array([[1, 1, 0, 2]], np.int32)
    maps = np.array([[[9, 9, 9, 9]], [[200, 10, 255, 0]], [[90, 90, 0, 30]]], np.uint8)
    channels = ["nucleus", "class_a", "class_b"]
    assert class_names(channels) == ["a", "b"]
    assert classify(labels, maps, channels).tolist() == [0, 1]
    assert classify(labels, maps[:1], channels[:1]).tolist() == [0, 0]
    assert classify(np.zeros((1, 4), np.int32), maps, channels).size == 0
