"""Drawn microscopy."""

import numpy as np
import pytest

from nuclei.data.synthetic import (
    draw_brightfield,
    draw_fluorescence,
    draw_histology,
    draw_nuclei,
    shape_classes,
)


@pytest.mark.parametrize("draw", [draw_brightfield, draw_fluorescence, draw_histology])
def test_an_image_may_be_empty(draw):
    image = draw(np.random.default_rng(0), np.zeros((40, 50), np.int32))
    assert image.shape == (40, 50, 3) and image.dtype == np.uint8


def test_nuclei_touch_when_they_shall():
    def touching(labels):
        a, b = labels[:, :-1], labels[:, 1:]
        return ((a != b) & (a > 0) & (b > 0)).sum()

    rng = np.random.default_rng(0)
    assert touching(draw_nuclei(rng, (200, 200), 60, 9.0, touching=0.9)) > 30
    alone = draw_nuclei(rng, (400, 400), 10, 6.0, touching=0.0)
    assert alone.max() >= 8


def test_classes_are_small_round_and_long():
    square, bar = np.zeros((2, 40, 40), np.int32)
    square[4:14, 4:14], square[20:24, 20:24], square[26:36, 4:14] = 1, 2, 3
    bar[5:10, 2:30] = 1
    assert shape_classes(square) == [2, 1, 2]
    assert shape_classes(bar) == [3]
    assert shape_classes(np.zeros((3, 3), np.int32)) == []
