"""Regions and distances against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nuclei.labelmap.regions import (
    add_rim,
    compact_labels,
    flagged,
    label_regions,
    regions_with_seed,
    remove_rim,
    remove_small_objects,
    squared_distances,
)


def noise(seed: int, height: int, width: int, share: float) -> np.ndarray:
    return (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)


SEEDS, SIDES = st.integers(0, 2**32 - 1), st.integers(1, 30)


@given(SEEDS, SIDES, SIDES, st.floats(0.3, 1))
def test_regions_with_seed_are_propagation(seed: int, height: int, width: int, share: float) -> None:
    weak, strong = noise(seed, height, width, share), noise(seed + 1, height, width, 0.05)
    expected = ndimage.binary_propagation(strong & weak, mask=weak)
    np.testing.assert_array_equal(regions_with_seed(weak, strong), expected)


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


@given(SEEDS, SIDES, SIDES, st.floats(0.3, 0.9))
def test_labelled_regions_are_those_of_scipy(seed: int, height: int, width: int, share: float) -> None:
    mask = noise(seed, height, width, share)
    free = add_rim(mask)
    labels = np.zeros(free.size, np.int32)
    n = label_regions(free, flagged(free), labels, 0, width + 2)
    expected, n_expected = ndimage.label(mask)
    np.testing.assert_array_equal(remove_rim(labels, height, width), expected)
    assert n == n_expected and not free.any()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 15))
def test_small_objects_go_and_the_rest_is_numbered_without_gaps(pixels: list[int], min_area: int) -> None:
    areas = {label: pixels.count(label) for label in sorted(set(pixels) - {0})}
    names = [label for label, area in areas.items() if area >= min_area]
    expected = [names.index(label) + 1 if label in names else 0 for label in pixels]
    assert remove_small_objects(np.array(pixels, np.int32), 5, min_area).tolist() == expected


@given(st.lists(st.sampled_from([0, 1, 2, 10**4, 10**12]), max_size=10))
def test_compact_labels_are_small_and_as_different_as_before(labels: list[int]) -> None:
    compact = compact_labels(np.array(labels, np.int64))
    assert compact.dtype == np.int64 and (compact <= 10 * len(labels) + 1000).all()
    assert [n == 0 for n in compact] == [n == 0 for n in labels]
    assert len(set(zip(labels, compact.tolist(), strict=True))) == len(set(labels)) == len(set(compact))


def test_negative_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="truth: expected integer labels of 0 or more, got -3"):
        compact_labels(np.array([1, -3]), "truth")
