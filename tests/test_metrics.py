"""The metric against hand-worked cases and a slow, obvious reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import jaccard_score, precision_recall_fscore_support

from nuclei.metrics import (
    THRESHOLDS,
    accuracy,
    agreement,
    average_precision,
    confusion,
    pixel_confusion,
    pixel_scores,
    precision_at,
    table,
)

PAIRS = array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
    lambda shape: st.tuples(*[arrays(np.int32, shape, elements=st.integers(0, 5))] * 2)
)


def slow_confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Compare sets of pixels, nucleus by nucleus, in fractions."""

    def nuclei(labels: np.ndarray) -> list[set[int]]:
        return [set(np.flatnonzero(labels == n)) for n in sorted(set(labels.flat) - {0})]

    true, predicted = nuclei(truth), nuclei(prediction)
    rows = []
    for k in range(10, 20):
        hits = [(t, p) for t in true for p in predicted if Fraction(len(t & p), len(t | p)) > Fraction(k, 20)]
        rows.append([len(hits), len(predicted) - len(hits), len(true) - len(hits)])
    return np.array(rows)


def row(*runs: tuple[int, int]) -> np.ndarray:
    """Draw (label, pixels) runs as a map of one line."""
    return np.concatenate([np.full(n, label, np.int32) for label, n in runs])[None]


@given(PAIRS)
def test_equals_the_reference(pair: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(confusion(*pair), slow_confusion(*pair))


@given(PAIRS, st.permutations(range(1, 6)))
def test_the_numbering_does_not_matter(pair: tuple[np.ndarray, np.ndarray], names: list[int]) -> None:
    truth, prediction = pair
    renamed = np.array([0, *(10**8 * name for name in names)], np.int32)[prediction]
    np.testing.assert_array_equal(confusion(truth, renamed), confusion(truth, prediction))


@given(PAIRS)
def test_swapping_the_maps_swaps_the_errors(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    np.testing.assert_array_equal(confusion(prediction, truth), confusion(truth, prediction)[:, [0, 2, 1]])


def test_equals_the_reference_on_crowded_maps() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        truth = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((4, 4), np.int64))
        prediction = np.roll(truth, random.integers(0, 2, 2), (0, 1)) * (random.random(truth.shape) > 0.1)
        np.testing.assert_array_equal(confusion(truth, prediction), slow_confusion(truth, prediction))


def test_five_thousand_nuclei() -> None:
    """Squares of 6 by 6 pixels, moved by one: IoU 5/7, and 5/6 for the 50 that are cut off."""
    truth = np.kron(np.arange(1, 5001).reshape(50, 100), np.ones((6, 6), np.int64))
    prediction = np.roll(truth, 1, axis=1)
    prediction[:, 0] = 0
    counts = confusion(truth, prediction)
    np.testing.assert_array_equal(counts[:, 0], [5000] * 5 + [50] * 2 + [0] * 3)
    np.testing.assert_array_equal(counts.sum(axis=1), 10_000 - counts[:, 0])


def test_every_pixel_another_nucleus() -> None:
    truth = np.random.default_rng(0).permutation(5000).reshape(50, 100)
    np.testing.assert_array_equal(confusion(truth, truth), [[4999, 0, 0]] * 10)
    np.testing.assert_array_equal(confusion(truth, truth + 1)[0], [4999, 1, 0])


@given(PAIRS)
@settings(max_examples=50, deadline=None)
def test_stardist_counts_the_same_just_above_each_threshold(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """It counts an IoU that equals a threshold too; small maps have none this near to one."""
    peer = pytest.importorskip("stardist.matching", reason="a peer of requirements-bench.txt")
    above = peer.matching(*pair, thresh=[k / 20 + 1e-6 for k in THRESHOLDS])
    np.testing.assert_array_equal(confusion(*pair), [[m.tp, m.fp, m.fn] for m in above])
    at = peer.matching(*pair, thresh=[k / 20 - 1e-6 for k in THRESHOLDS])
    assert (confusion(*pair)[:, 0] <= [m.tp for m in at]).all()


@pytest.mark.parametrize("k", THRESHOLDS)
def test_an_iou_that_equals_a_threshold_is_no_match(k: int) -> None:
    truth, prediction = row((1, 20)), row((1, k), (0, 20 - k))
    tp = confusion(truth, prediction)[:, 0]
    assert tp.tolist() == [int(k > t) for t in THRESHOLDS]


def test_an_iou_just_above_a_threshold_is_a_match() -> None:
    """1/2 + 1/10**6 and 19/20 + 1/10**6, as an image of a million pixels can have."""
    truth = row((1, 10**6))
    for k, matches in ((10, 1), (19, 10)):
        prediction = row((1, k * 50_000 + 1), (0, 10**6 - k * 50_000 - 1))
        assert confusion(truth, prediction)[:, 0].sum() == matches


def test_worked_by_hand() -> None:
    truth = row((1, 10), (2, 10), (3, 10))
    prediction = row((7, 9), (0, 1), (8, 6), (0, 4), (0, 5), (9, 5))  # IoUs 0.9, 0.6, 0.5
    counts = confusion(truth, prediction)
    np.testing.assert_array_equal(counts[:2], [[2, 1, 1], [2, 1, 1]])  # above 0.50 and 0.55
    np.testing.assert_array_equal(counts[2:8], [[1, 2, 2]] * 6)  # 0.60 to 0.85
    np.testing.assert_array_equal(counts[8:], [[0, 3, 3]] * 2)
    assert average_precision(truth, prediction) == pytest.approx((2 * 2 / 4 + 6 * 1 / 5) / 10)


def test_one_prediction_over_two_nuclei_matches_at_most_one() -> None:
    assert confusion(row((1, 6), (2, 4)), row((1, 10)))[0].tolist() == [1, 0, 1]
    assert confusion(row((1, 5), (2, 5)), row((1, 10)))[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("truth", "prediction", "score"),
    [
        (row((0, 4)), row((0, 4)), 1.0),
        (row((0, 4)), row((1, 4)), 0.0),
        (row((1, 4)), row((0, 4)), 0.0),
        (row((1, 1)), row((5, 1)), 1.0),
        (np.zeros((0, 0), int), np.zeros((0, 0), int), 1.0),
    ],
)
def test_images_with_and_without_nuclei(truth: np.ndarray, prediction: np.ndarray, score: float) -> None:
    assert average_precision(truth, prediction) == score


def test_precision_of_many_images_at_once() -> None:
    counts = np.stack([confusion(row((1, 4)), row((1, 3), (0, 1))), confusion(row((0, 4)), row((0, 4)))])
    np.testing.assert_array_equal(precision_at(counts), [[1] * 5 + [0] * 5, [1] * 10])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_any_integers_will_do(dtype: type) -> None:
    labels = np.array([[1, 1, 2], [0, 2, 2]], dtype)
    assert average_precision(labels, labels.astype(np.int32)) == 1.0


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((2, 3), int), r"truth is \(2, 3\) but prediction is \(1, 4\)"),
        (np.zeros((1, 4)), "truth: expected integer labels"),
        (np.full((1, 4), -1), "truth: expected integer labels of 0 or more"),
    ],
)
def test_wrong_maps_are_refused(truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion(truth, row((1, 4)))


def test_table() -> None:
    half, full = confusion(row((1, 4)), row((1, 3), (0, 1))), confusion(row((1, 4)), row((1, 4)))
    assert table([half, full, full], ["dim", "bright", "dim"], "kind") == [
        "kind   images   0.50   0.75   0.90   mean",
        "bright      1  1.000  1.000  1.000  1.000",
        "dim         2  1.000  0.500  0.500  0.750",
        "all         3  1.000  0.667  0.667  0.833",
    ]


def slow_jaccard(truth: np.ndarray, prediction: np.ndarray) -> Fraction:
    """Algorithm 1 of Kumar et al. (2017), pixel sets and fractions, line by line."""

    def nuclei(labels: np.ndarray) -> dict[int, set[int]]:
        return {int(n): set(np.flatnonzero(labels == n)) for n in sorted(set(labels.flat) - {0})}

    true, predicted = nuclei(truth), nuclei(prediction)
    intersection, union, used = 0, 0, set()
    for t in true.values():
        best = max(predicted, key=lambda n: Fraction(len(t & predicted[n]), len(t | predicted[n])), default=0)
        if best and t & predicted[best]:
            intersection += len(t & predicted[best])
            union += len(t | predicted[best])
            used.add(best)
        else:
            union += len(t)
    union += sum(len(p) for n, p in predicted.items() if n not in used)
    return Fraction(intersection, union) if union else Fraction(1)


@given(PAIRS)
def test_the_aggregated_jaccard_index_is_the_papers(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert agreement(*pair).aggregated_jaccard == pytest.approx(float(slow_jaccard(*pair)))


@given(PAIRS)
def test_panoptic_quality_against_sets_of_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    true, predicted = (sorted(set(labels.flat) - {0}) for labels in pair)
    ious = [
        ((truth == t) & (prediction == p)).sum() / ((truth == t) | (prediction == p)).sum()
        for t in true
        for p in predicted
    ]
    matched = [iou for iou in ious if iou > 0.5]
    whole = len(matched) + (len(true) - len(matched)) / 2 + (len(predicted) - len(matched)) / 2
    assert agreement(*pair).panoptic_quality == pytest.approx(sum(matched) / whole if whole else 1)


@given(PAIRS)
@settings(max_examples=50, deadline=None)
def test_stardist_gives_the_same_figures_where_the_definitions_meet(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    """It counts an IoU that equals the threshold, and gives 0 to images without any nucleus."""
    peer = pytest.importorskip("stardist.matching", reason="a peer of requirements-bench.txt")
    found, (half, three_quarters) = agreement(*pair), peer.matching(*pair, thresh=[0.5 + 1e-6, 0.75 + 1e-6])
    if not found.n_true + found.n_predicted:
        assert found.panoptic_quality == found.f1(10) == found.segmentation_quality == 1
        return
    assert (found.n_true, found.n_predicted) == (half.n_true, half.n_pred)
    assert found.panoptic_quality == pytest.approx(half.panoptic_quality)
    assert found.segmentation_quality == pytest.approx(half.mean_matched_score)
    assert found.f1(10) == pytest.approx(half.f1) and found.f1(15) == pytest.approx(three_quarters.f1)


@given(st.lists(PAIRS, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_sums_over_images_are_those_of_stardists_data_sets(
    pairs: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    peer = pytest.importorskip("stardist.matching", reason="a peer of requirements-bench.txt")
    total = sum((agreement(*pair) for pair in pairs[1:]), agreement(*pairs[0]))
    pooled = peer.matching_dataset(*zip(*pairs, strict=True), thresh=0.5 + 1e-6, show_progress=False)
    if total.n_true + total.n_predicted:
        assert total.f1(10) == pytest.approx(pooled.f1)
        assert total.panoptic_quality == pytest.approx(pooled.panoptic_quality)


def test_agreement_worked_by_hand() -> None:
    """A match of IoU 8/10, a nucleus whose best overlap is 2/4, a missed nucleus and a false find."""
    truth = row((1, 8), (2, 4), (0, 4), (3, 5), (0, 3))
    prediction = row((4, 8), (4, 2), (5, 2), (0, 4), (0, 5), (6, 3))
    found = agreement(truth, prediction)
    assert (found.n_true, found.n_predicted) == (3, 3)
    assert found.matched_iou == pytest.approx(0.8) and found.f1(10) == pytest.approx(1 / 3)
    # 1 goes with 4 (8 of 10); 2 with 5 (2 of 4, its best); 3 with none, 6 is used by none.
    assert (found.intersection, found.union) == (10, 10 + 4 + 5 + 3)


CLASSES = arrays(np.int64, (6, 7), elements=st.integers(0, 3))


@settings(deadline=None)
@given(CLASSES, CLASSES)
def test_pixel_scores_agree_with_scikit_learn(truth: np.ndarray, predicted: np.ndarray) -> None:
    confusion = pixel_confusion(truth, predicted, 4)
    present = np.unique([*truth.ravel(), *predicted.ravel()])
    t, p = truth.ravel(), predicted.ravel()
    scores = pixel_scores(confusion)
    expected_scores = precision_recall_fscore_support(t, p, labels=present, zero_division=0)
    for name, expected in zip(("precision", "recall", "F1"), expected_scores, strict=False):
        assert np.allclose(scores[name][present], expected)
    assert np.allclose(scores["IoU"][present], jaccard_score(t, p, labels=present, average=None))
    assert np.isnan(np.delete(scores["IoU"], present)).all()
    assert accuracy(confusion) == pytest.approx((truth == predicted).mean())
