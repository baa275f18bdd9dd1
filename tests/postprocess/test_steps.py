"""Each step on arrays that one can see."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nuclei.postprocess.distance import DistanceWatershed, distances
from nuclei.postprocess.holes import fill_holes
from nuclei.postprocess.hysteresis import cut, hysteresis


def picture(text: str) -> np.ndarray:
    """Read digits, ``.`` for 0, as uint8 (H, W)."""
    rows = [line.strip().replace(".", "0") for line in text.strip().splitlines()]
    return np.array([[int(c) for c in row] for row in rows], np.uint8)


def test_a_weak_region_counts_where_it_touches_a_strong_pixel_by_an_edge():
    weak = picture("""
        11..1
        12..1
        ..1..
    """)
    expected = picture("""
        11...
        11...
        .....
    """)
    np.testing.assert_array_equal(hysteresis(weak * 100, low=0.3, high=0.5), expected)


@given(st.integers(0, 255), st.integers(0, 1000))
def test_cut_is_the_strict_threshold_of_the_probability(value, thousandths):
    assert (value > cut(thousandths / 1000)) == (value * 1000 > thousandths * 255)


def test_holes_are_what_no_diagonal_path_leaves():
    mask = picture("""
        .1111..
        .1..1..
        .1.11..
        .111.1.
        ....1.1
        .....1.
    """)
    filled = picture("""
        .1111..
        .1111..
        .1111..
        .111.1.
        ....1.1
        .....1.
    """)
    np.testing.assert_array_equal(fill_holes(mask), filled)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30), st.floats(0.2, 0.8))
@settings(deadline=None)
def test_fill_holes_against_scipy(seed, height, width, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    expected = ndimage.binary_fill_holes(mask, structure=np.ones((3, 3)))
    np.testing.assert_array_equal(fill_holes(mask), expected)


def test_distances_are_quarter_pixels_and_stop_at_255():
    assert distances(picture(".1111")).tolist() == [[0, 4, 8, 12, 16]]
    wide = np.ones((3, 200), np.uint8)
    wide[:, 0] = 0
    assert distances(wide)[1, 60:70].tolist() == [240, 244, 248, 252, 255, 255, 255, 255, 255, 255]


def test_a_peak_reaches_as_far_as_its_distance():
    mask = np.zeros((13, 40), np.uint8)
    mask[1:12, 1:12] = mask[1:12, 28:39] = mask[5:8, 10:30] = 1
    near = DistanceWatershed(low=0.5, high=0.5, sigma=0, peak_distance=3)({"nucleus": mask * 255})
    far = DistanceWatershed(low=0.5, high=0.5, sigma=0, peak_distance=38)({"nucleus": mask * 255})
    assert near[6, 6] != near[6, 33]
    assert far.max() == 2  # both squares are equally high, and nothing between them is
