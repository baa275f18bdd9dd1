"""The flood on drawn label maps and against a slow reference; arithmetic on maps against NumPy in float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nuclei.labelmap.flooding import CHUNK, flood, local_maxima, marker_score, symmetric_hash, weighted_mean

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


def picture(text: str) -> np.ndarray:
    """Read digits, ``.`` for 0, as uint8 (H, W)."""
    rows = [line.strip().replace(".", "0") for line in text.strip().splitlines()]
    return np.array([[int(c) for c in row] for row in rows], np.uint8)


def test_the_flood_meets_in_the_valley_and_keeps_what_has_no_marker():
    score = picture("""
        9841489
        9841489
        .......
        3..2222
    """)
    labels = flood(score, (score == 9).astype(np.uint8), (score > 0).astype(np.uint8))
    # The two are mirror images of each other: what lies between them cannot be given to one in fairness.
    assert labels.tolist() == [[1, 1, 1, 0, 2, 2, 2]] * 2 + [[0] * 7, [3, 0, 0, 4, 4, 4, 4]]


def test_of_two_equal_claims_the_larger_marker_has_the_better():
    score = picture("""
        9985589
        .......
    """)
    labels = flood(score, (score == 9).astype(np.uint8), (score > 0).astype(np.uint8))
    assert labels[0].tolist() == [1, 1, 1, 1, 2, 2, 2]


def test_what_only_a_tie_leads_to_is_a_tie():
    score = picture("""
        95359
        ..2..
        .222.
    """)
    labels = flood(score, (score == 9).astype(np.uint8), (score > 0).astype(np.uint8))
    assert labels.tolist() == [[1, 1, 0, 2, 2], [0] * 5, [0] * 5]


def slow_flood(score: np.ndarray, seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The flood with sets of pixels, its markers compared pixel by pixel instead of by a hash."""
    height, width = mask.shape
    labels, n = ndimage.label(seeds & mask)
    rank = {label: rank_of(score, labels == label) for label in range(1, n + 1)}

    def near(y: int, x: int) -> list[tuple[int, int]]:
        four = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        return [(v, u) for v, u in four if 0 <= v < height and 0 <= u < width and mask[v, u]]

    labels = {(y, x): int(labels[y, x]) for y, x in np.argwhere(mask).tolist()}
    level_of: dict[tuple[int, int], int] = {}
    newest, level = [p for p, label in labels.items() if label], 255
    while level >= 0:
        for p in newest:
            for q in near(*p):
                if not labels[q]:
                    level_of.setdefault(q, min(level, int(score[q])))
        newest = [q for q, at in level_of.items() if at == level and not labels[q]]
        if not newest:
            level -= 1
            continue
        owners = {}
        for p in newest:
            claims = [(-int(score[q]), *rank[labels[q]], labels[q]) for q in near(*p) if labels[q] > 0]
            first = {c[-1] for c in claims if c[:-1] == min(claims)[:-1]}
            owners[p] = first.pop() if len(first) == 1 else -1
        labels |= owners
    image = np.zeros(mask.shape, np.int32)
    for p, label in labels.items():
        image[p] = max(label, 0)
    rest, _ = ndimage.label([[labels.get((y, x)) == 0 for x in range(width)] for y in range(height)])
    return np.where(rest, rest + n, image)


def rank_of(score: np.ndarray, marker: np.ndarray) -> tuple[int, int]:
    """The better marker has the smaller rank; the size is all that the picture says about it."""
    height, width = marker.shape
    hashes = [
        symmetric_hash(int(score[y, x]), (2 * y - height + 1) ** 2, (2 * x - width + 1) ** 2)
        for y, x in np.argwhere(marker).tolist()
    ]
    return -len(hashes), int(np.sum(hashes, dtype=np.int64))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(1, 9), st.booleans())
@settings(deadline=None, max_examples=150)
def test_the_flood_against_the_reference(seed, height, width, levels, mirrored):
    generator = np.random.default_rng(seed)
    score = generator.integers(0, levels + 1, (height, width), np.uint8)
    mask, seeds = (generator.random((2, height, width)) < [[[0.8]], [[0.15]]]).astype(np.uint8)
    if mirrored:  # so that there are ties
        score, mask, seeds = (np.hstack([a, a[:, -2::-1]]) for a in (score, mask, seeds))
    got = flood(score, seeds, mask)
    expected = slow_flood(score, seeds, mask)
    pairs = set(zip(got.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs | {(0, 0)}) == got.max() + 1 == expected.max() + 1


def test_markers_outside_the_mask_count_for_nothing():
    mask = picture("11..11")
    labels = flood(mask, picture("..1..1"), mask)
    assert labels.tolist() == [[2, 2, 0, 0, 1, 1]]
