"""Overlaps of two label maps against NumPy; the counts of matches have their reference in test_metrics."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuclei.labelmap.overlap import best_ious, count_matches, pair_runs, shared_pairs

PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.int32, n, elements=st.integers(0, 3))] * 2)
)


@given(PAIRS)
def test_runs_are_those_of_itertools(pair: tuple[np.ndarray, np.ndarray]) -> None:
    runs = [(len(list(run)), *labels) for labels, run in groupby(zip(*map(list, pair), strict=True))]
    assert list(zip(*map(list, pair_runs(*pair)), strict=True)) == runs


@given(PAIRS)
def test_best_ious_are_the_best(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    best_a, best_b = best_ious(*pair_runs(a, b))
    iou = np.zeros((a.max() + 1, b.max() + 1))
    for i in range(1, len(iou)):
        for j in range(1, iou.shape[1]):
            union = ((a == i) | (b == j)).sum()
            iou[i, j] = ((a == i) & (b == j)).sum() / union if union else 0
    assert np.array_equal(best_a[1:], iou.max(1)[1:]) and np.array_equal(best_b[1:], iou.max(0)[1:])


def test_the_hash_table_grows() -> None:
    """Each of 3,000 nuclei overlaps one nucleus of the other map; the first table has room for 512 pairs."""
    labels = np.repeat(np.arange(1, 3001), 2)
    counts = count_matches(*pair_runs(labels, labels[::-1].copy()), np.array([10, 19]))
    assert counts.tolist() == [[3000, 0, 0], [3000, 0, 0]]


@given(PAIRS)
def test_shared_pixels_are_those_of_a_table(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    areas_a, areas_b, pairs = shared_pairs(*pair_runs(a, b))
    assert np.array_equal(areas_a, np.bincount(a)) and np.array_equal(areas_b, np.bincount(b))
    both = sorted({(i, j) for i, j in zip(a.tolist(), b.tolist(), strict=True) if i and j})
    assert pairs.tolist() == [[i, j, ((a == i) & (b == j)).sum()] for i, j in both]
