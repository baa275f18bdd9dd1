"""Sums of objects and the choice among them, against NumPy and plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nuclei.labelmap.label_pairs import pair_runs
from nuclei.labelmap.object_sums import SHAPE, best_first, sums
from nuclei.labelmap.overlap import best_ious

SEEDS, SIDES = st.integers(0, 2**32 - 1), st.integers(1, 12)


def drawn(seed: int, height: int, width: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n + 1, (height, width)).astype(np.int32)


@given(SEEDS, SIDES, SIDES)
def test_sums_are_those_of_the_pixels(seed: int, height: int, width: int) -> None:
    labels = drawn(seed, height, width)
    maps = np.random.default_rng(seed).integers(0, 256, (2, height, width), dtype=np.uint8)
    found = sums(labels, 4, maps)
    around = np.pad(labels, 1, constant_values=-1)
    views = [
        around[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    first = np.pad(maps[0].astype(int), 1)
    beside = [
        first[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    y, x = np.indices(labels.shape)
    for n in range(1, 5):
        own = labels == n
        other = np.any([(v != n) & (v >= 0) for v in views], axis=0) & own
        touching = np.any([(v != n) & (v > 0) for v in views], axis=0) & own
        shape = [
            own.sum(),
            y[own].sum(),
            x[own].sum(),
            (y * y)[own].sum(),
            (x * x)[own].sum(),
            (y * x)[own].sum(),
        ]
        shape += [other.sum(), touching.sum(), sum((v == -1)[own].sum() for v in views)]
        shape += [(maps[0].astype(int) ** 2)[own].sum(), sum(((v == 0) & own).sum() for v in views)]
        shape += [sum(b[(v == 0) & own].sum() for v, b in zip(views, beside, strict=True))]
        of_maps = [[m[own].sum(), m[other].sum(), m[own].max(initial=0)] for m in maps]
        assert found[n, :SHAPE].tolist() == shape
        assert found[n, SHAPE:].tolist() == np.concatenate(of_maps).tolist()


@given(SEEDS, SIDES, SIDES)
def test_best_ious_are_the_best(seed: int, height: int, width: int) -> None:
    a, b = drawn(seed, height, width), drawn(seed + 1, height, width, 3)
    of_a, of_b = best_ious(*pair_runs(a.ravel(), b.ravel()))
    iou = np.zeros((a.max() + 1, b.max() + 1))
    for i in range(1, len(iou)):
        for j in range(1, iou.shape[1]):
            either = ((a == i) | (b == j)).sum()
            iou[i, j] = ((a == i) & (b == j)).sum() / either if either else 0
    assert np.array_equal(of_a[1:], iou.max(1)[1:]) and np.array_equal(of_b[1:], iou.max(0)[1:])


@given(SEEDS, SIDES, SIDES, st.sampled_from([0.0, 0.25, 1.0]))
def test_the_best_come_first_and_keep_what_is_left(seed: int, height: int, width: int, share: float) -> None:
    layers = np.stack([drawn(seed, height, width), drawn(seed + 1, height, width, 2)])
    objects = [(k, m) for k in (0, 1) for m in range(1, layers[k].max() + 1) if (layers[k] == m).any()]
    order = np.random.default_rng(seed).permutation(len(objects))
    of_layer, numbers = (np.array([objects[i][c] for i in order], np.int64) for c in (0, 1))
    expected, n = np.zeros((height, width), np.int32), 0
    for k, m in zip(of_layer, numbers, strict=True):
        own = layers[k] == m
        covered = (expected[own] > 0).sum()
        if covered <= share * own.sum() and covered < own.sum():
            n += 1
            expected[own & (expected == 0)] = n
    found = best_first(layers.reshape(2, -1), of_layer, numbers, share)
    assert np.array_equal(found.reshape(height, width), expected)
