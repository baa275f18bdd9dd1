"""Masks, components and sizes on arrays that one can see, against SciPy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.filters import threshold_otsu

from nuclei.postprocess.components import (
    Components,
    OtsuComponents,
    RemoveSmall,
    fill_holes,
    hysteresis_threshold,
    label_mask,
    otsu_threshold,
    uint8_threshold,
)


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


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_regions_are_those_of_scipy(seed: int, height: int, width: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < 0.6).astype(np.uint8)
    labels, (expected, n) = label_mask(mask), ndimage.label(mask)
    assert labels.dtype == np.int32
    assert (
        len(set(zip(labels.ravel(), expected.ravel(), strict=True)) | {(0, 0)}) == n + 1 == labels.max() + 1
    )


@pytest.mark.parametrize("step", [Components(low=0.4, high=0.6), OtsuComponents()])
def test_nuclei_that_touch_by_an_edge_are_one_and_by_a_corner_two(step: Components | OtsuComponents) -> None:
    nucleus = np.array([[200, 190, 0, 0], [0, 180, 0, 0], [0, 0, 210, 220]], np.uint8)
    assert step({"nucleus": nucleus}).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 2, 2]]


def test_components_have_no_holes_and_no_weak_regions() -> None:
    nucleus = np.array([[150, 200, 150, 0, 0], [150, 0, 150, 0, 150], [150, 150, 150, 0, 150]], np.uint8)
    labels = Components(low=0.4, high=0.6)({"nucleus": nucleus})
    assert labels.tolist() == [[1, 1, 1, 0, 0]] * 3


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 3)),
    st.integers(0, 30),
)
@settings(deadline=None)
def test_the_size_rule_removes_small_objects_and_nothing_else(areas, min_area):
    labels = np.unique(areas, return_inverse=True)[1].reshape(areas.shape).astype(np.int32)
    before = labels.copy()
    kept = RemoveSmall(min_area)(labels)
    for label in range(1, labels.max() + 1):
        inside = kept[labels == label]
        assert len(set(inside)) == 1
        assert (inside[0] > 0) == (inside.size >= max(min_area, 1))
    assert (kept[labels == 0] == 0).all()
    np.testing.assert_array_equal(labels, before)
