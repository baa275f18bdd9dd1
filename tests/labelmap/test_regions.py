"""Regions and distances against SciPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nuclei.labelmap.regions import reached, squared_distances


def noise(seed: int, height: int, width: int, share: float) -> np.ndarray:
    return (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)


SEEDS, SIDES = st.integers(0, 2**32 - 1), st.integers(1, 30)


@given(SEEDS, SIDES, SIDES, st.floats(0.3, 1))
def test_reached_is_propagation(seed: int, height: int, width: int, share: float) -> None:
    weak, strong = noise(seed, height, width, share), noise(seed + 1, height, width, 0.05)
    expected = ndimage.binary_propagation(strong & weak, mask=weak)
    np.testing.assert_array_equal(reached(weak, strong), expected)


@given(SEEDS, SIDES, SIDES, st.floats(0.5, 0.99))
def test_squared_distances_are_exact(seed: int, height: int, width: int, share: float) -> None:
    mask = noise(seed, height, width, share)
    mask[seed % height, seed % width] = 0
    expected = np.rint(ndimage.distance_transform_edt(mask) ** 2)
    np.testing.assert_array_equal(squared_distances(mask, 64), expected)


def test_what_is_far_or_has_nothing_near_counts_as_the_limit() -> None:
    assert (squared_distances(np.ones((2, 3), np.uint8), 64) == 64**2).all()
    wide = np.ones((1, 100), np.uint8)
    wide[0, 0] = 0
    assert squared_distances(wide, 64)[0].tolist() == [min(x, 64) ** 2 for x in range(100)]
