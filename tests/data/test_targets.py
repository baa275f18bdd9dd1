"""The maps that a network learns."""

import numpy as np
import pytest

from nuclei.data.targets import CHANNELS, border_weights, targets

LABELS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    np.int32,
)


def test_targets_of_two_touching_nuclei():
    maps = dict(zip(CHANNELS, targets(LABELS), strict=True))
    assert np.array_equal(maps["nucleus"], LABELS > 0)
    assert maps["distance"][3, 3] == 1 == maps["distance"][2, 7]
    assert (maps["distance"][LABELS == 0] == 0).all() and (maps["distance"][LABELS > 0] > 0).all()
    assert maps["border"][1:4, 5:7].all(), "where they touch"
    assert maps["border"][1, 1] and maps["border"][5, 3], "the outermost pixels"
    assert not maps["border"][3, 3] and not maps["border"][6, 9]


def test_targets_of_nothing_one_pixel_and_gaps():
    assert not targets(np.zeros((5, 6), np.int32)).any()
    one = np.zeros((5, 6), np.int32)
    one[2, 2] = 7
    assert targets(one)[2, 2, 2] == 1
    assert np.array_equal(targets(LABELS * 1000), targets(LABELS))


def test_a_nucleus_cut_by_the_image_has_no_border_there():
    cut = np.ones((6, 6), np.int32)
    cut[:, 4:] = 0
    assert not targets(cut)[1, :, 0].any()


def test_background_makes_the_channels_exclusive():
    labels = np.zeros((12, 12), np.int32)
    labels[2:6, 2:10], labels[6:10, 2:10] = 1, 2
    maps = targets(labels, ["background", "nucleus", "border"])
    assert (maps.sum(0) == 1).all()
    assert maps[2, 5, 5] == 1 and maps[1, 3, 5] == 1 and maps[0, 0, 0] == 1


def test_border_weights_are_the_formula_and_highest_in_narrow_gaps():
    labels = np.zeros((20, 40), np.int32)
    labels[5:15, 4:15], labels[5:15, 18:30] = 1, 2
    weight = border_weights(labels)
    assert weight[10, 16] == pytest.approx(1 + 10 * np.exp(-((2 + 2) ** 2) / 50), rel=0.02)
    assert weight[10, 8] == 1 and weight[0, 39] < 1.1 < weight[10, 17]
    assert (border_weights(labels * (labels == 1)) == 1).all()
    touching = np.repeat(np.repeat([[1, 2]], 6, 0), 6, 1)
    assert border_weights(touching)[3, 5] > 5


def test_offsets_say_where_in_its_nucleus_a_pixel_lies():
    labels = np.zeros((6, 10), np.int32)
    labels[1:5, 1:5], labels[1:5, 5:9] = 3, 7
    y, x, centre = targets(labels, ["offset_y", "offset_x", "centre"])
    assert x[2].tolist() == [0.5, 0.125, 0.375, 0.625, 0.875, 0.125, 0.375, 0.625, 0.875, 0.5]
    assert y[:, 3].tolist() == [0.5, 0.125, 0.375, 0.625, 0.875, 0.5]
    assert centre[2:4, 2:4].all() and not centre[1].any() and not centre[:, 4:6].any()


def test_targets_of_classes_are_exclusive():
    labels = np.array([[1, 1, 0, 2], [1, 1, 0, 2]], np.int32)
    maps = targets(labels, ["background", "class_a", "class_b"], np.array([0, 2, 1]))
    assert maps[:, 0].tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]]
    assert (maps.sum(0) == 1).all()
