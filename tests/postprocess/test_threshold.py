"""Masks on arrays that one can see, and against SciPy and scikit-image."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu

from nuclei.postprocess.threshold import fill_holes, hysteresis_threshold, otsu_threshold, uint8_threshold


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
    np.testing.assert_array_equal(hysteresis_threshold(weak * 100, low=0.3, high=0.5), expected)


@given(st.integers(0, 255), st.integers(0, 1000))
def test_the_uint8_threshold_is_the_strict_threshold_of_the_probability(value, thousandths):
    assert (value > uint8_threshold(thousandths / 1000)) == (value * 1000 > thousandths * 255)


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


@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
@settings(deadline=None)
def test_otsus_threshold_against_scikit_image(seed, width):
    generator = np.random.default_rng(seed)
    levels = np.where(generator.random((width, width)) < 0.3, 180, 60)
    nucleus = (levels + generator.integers(0, 50, levels.shape)).astype(np.uint8)
    nucleus[0, :2] = 60, 200
    # All thresholds between two levels that occur are equal, so the masks are compared and not the levels.
    np.testing.assert_array_equal(otsu_threshold(nucleus), nucleus > threshold_otsu(nucleus))


def test_a_flat_map_has_no_threshold_but_one_half():
    assert otsu_threshold(np.full((2, 2), 127, np.uint8)).max() == 0
    assert otsu_threshold(np.full((2, 2), 128, np.uint8)).min() == 1
