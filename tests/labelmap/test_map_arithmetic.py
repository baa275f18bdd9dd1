"""Arithmetic on maps against NumPy in float64 and plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nuclei.labelmap.map_arithmetic import CHUNK, local_maxima, marker_score, weighted_mean

SEEDS = st.integers(0, 2**32 - 1)


def random_maps(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(SEEDS, st.sampled_from([1, 7, CHUNK, CHUNK + 1, 2 * CHUNK + 9]))
def test_the_mean_is_rounded_once(seed: int, size: int) -> None:
    maps, weights = random_maps(seed, 3, size), np.array([0.5, 0.0, 0.5], np.float32)
    expected = np.rint((maps[0].astype(float) + maps[2]) / 2)  # halves go to the even number
    np.testing.assert_array_equal(weighted_mean(maps, weights), expected)


@given(SEEDS, st.floats(0, 2), st.floats(0, 1))
def test_the_score_is_the_formula(seed: int, border_weight: float, distance_weight: float) -> None:
    nucleus, border, distance = maps = random_maps(seed, 3, 5, 9)
    score = marker_score(*maps, border_weight, distance_weight)
    inner = np.maximum(nucleus - border_weight * border, 0)
    expected = np.minimum((1 - distance_weight) * inner + distance_weight * distance, 255)
    assert (np.abs(score - expected) <= 0.5 + 1e-3).all()


def test_a_maximum_may_be_exceeded_by_the_tolerance_and_only_within_reach() -> None:
    score = np.array([[5, 6, 0, 0, 9]], np.uint8)
    offsets = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])
    mask = np.ones_like(score)
    assert local_maxima(score, mask, offsets, 0).tolist() == [[0, 1, 0, 0, 1]]
    assert local_maxima(score, mask, offsets, 1).tolist() == [[1, 1, 0, 0, 1]]
    assert local_maxima(score, mask, 3 * offsets, 1).tolist() == [[1, 0, 1, 0, 1]]
    assert not local_maxima(score, 0 * mask, offsets, 1).any()
