"""Pixel sums, overlaps, trees and the choice among objects, against NumPy and plain Python.

The counts of matches have their reference in test_metrics.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuclei.labelmap.objects import (
    N_SHAPE_SUMS,
    best_ious,
    count_matches,
    object_sums,
    pair_runs,
    select_best_first,
    shared_pairs,
)

SEEDS, SIDES = st.integers(0, 2**32 - 1), st.integers(1, 12)


def drawn(seed: int, height: int, width: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n + 1, (height, width)).astype(np.int32)


def neighbours(image: np.ndarray, beyond: int) -> list[np.ndarray]:
    """The image moved by one pixel in each direction, ``beyond`` where there is none."""
    padded = np.pad(image, 1, constant_values=beyond)
    height, width = image.shape
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    return [padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in steps]


@given(SEEDS, SIDES, SIDES)
def test_sums_are_those_of_the_pixels(seed: int, height: int, width: int) -> None:
    labels = drawn(seed, height, width)
    maps = np.random.default_rng(seed).integers(0, 256, (2, height, width), dtype=np.uint8)
    sums = object_sums(labels, 4, maps)
    first = maps[0].astype(int)
    views, beside = neighbours(labels, -1), neighbours(first, 0)
    y, x = np.indices(labels.shape)
    for n in range(1, 5):
        inside = labels == n
        edge = np.any([(v != n) & (v >= 0) for v in views], axis=0) & inside
        touching = np.any([(v != n) & (v > 0) for v in views], axis=0) & inside
        moments = [m[inside].sum() for m in (y, x, y * y, x * x, y * x)]
        expected = [inside.sum(), *moments, edge.sum(), touching.sum()]
        expected += [sum((v == -1)[inside].sum() for v in views), (first**2)[inside].sum()]
        expected += [sum(((v == 0) & inside).sum() for v in views)]
        expected += [sum(b[(v == 0) & inside].sum() for v, b in zip(views, beside, strict=True))]
        assert sums[n, :N_SHAPE_SUMS].tolist() == expected
        by_map = [[m[inside].sum(), m[edge].sum(), m[inside].max(initial=0)] for m in maps]
        assert sums[n, N_SHAPE_SUMS:].tolist() == np.concatenate(by_map).tolist()


@given(SEEDS, SIDES, SIDES, st.sampled_from([0.0, 0.25, 1.0]))
def test_the_best_objects_come_first_and_later_ones_keep_the_rest(
    seed: int, height: int, width: int, max_overlap: float
) -> None:
    layers = np.stack([drawn(seed, height, width), drawn(seed + 1, height, width, 2)])
    objects = [(k, m) for k in (0, 1) for m in range(1, layers[k].max() + 1) if (layers[k] == m).any()]
    order = np.random.default_rng(seed).permutation(len(objects))
    object_layers, labels = (np.array([objects[i][c] for i in order], np.int64) for c in (0, 1))
    expected, n = np.zeros((height, width), np.int32), 0
    for k, m in zip(object_layers, labels, strict=True):
        inside = layers[k] == m
        covered = (expected[inside] > 0).sum()
        if covered <= max_overlap * inside.sum() and covered < inside.sum():
            n += 1
            expected[inside & (expected == 0)] = n
    selected = select_best_first(layers.reshape(2, -1), object_layers, labels, max_overlap)
    assert np.array_equal(selected.reshape(height, width), expected)


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
