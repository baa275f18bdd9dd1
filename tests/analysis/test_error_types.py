"""Each kind of error, drawn; and mending, which removes its kind and brings what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.analysis.error_types import ERROR_TYPES, count_merges_and_splits, find_errors, mend
from nuclei.metrics import average_precision, confusion


def drawn(text: str) -> np.ndarray:
    """A label map from rows of digits, . for the background."""
    return np.array([[int(c) if c != "." else 0 for c in row] for row in text.split()], np.int32)


# Truth, prediction, the errors, the prediction when the kind is mended, renumbered by its first pixels.
CASES = {
    "merge": ("11122.33", "1111112.", {"merge": 1, "wrong outline": 1}, "1112223."),
    "merge with a gap": ("111.2233", "11111122", {"merge": 1}, "1111..22"),
    "split": ("111111.2", "112233.4", {"split": 1}, "111111.2"),
    "wrong outline": ("111111..", "11......", {"wrong outline": 1}, "111111.."),
    "miss": ("1111..22", "1111....", {"miss": 1}, "1111..22"),
    "false find": ("1111....", "1111..22", {"false find": 1}, "1111...."),
    "inexact outline": ("11111...", "1111....", {"inexact outline": 1}, "11111..."),
}


@pytest.mark.parametrize("name", ["merge", "split", "wrong outline", "miss", "false find", "inexact outline"])
def test_each_kind_is_found_and_mended(name: str) -> None:
    truth, prediction, expected, after = CASES[name]
    errors = find_errors(drawn(truth), drawn(prediction))
    assert {kind: n for kind, n in errors.counts().items() if n} == expected
    mended = mend(name, errors, drawn(truth), drawn(prediction))
    np.testing.assert_array_equal(outlines(mended), outlines(drawn(after)))
    assert average_precision(drawn(truth), mended) > average_precision(drawn(truth), drawn(prediction))


def outlines(labels: np.ndarray) -> np.ndarray:
    """The label map with numbers in the order of the pixels, which shows partitions alike."""
    _, first, at = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(np.where(labels.ravel()[first] == 0, -1, first)))
    return rank[at].reshape(labels.shape) + (labels.min() > 0)


def test_a_merge_is_cut_among_its_nuclei_even_where_the_truth_has_none() -> None:
    truth, prediction = drawn("111.2222"), drawn("11111111")
    mended = mend("merge", find_errors(truth, prediction), truth, prediction)
    assert len(set(mended[0, :3])) == len(set(mended[0, 4:])) == 1 and mended[0, 0] != mended[0, 4]
    assert (mended > 0).all()


def test_a_merge_that_matches_its_largest_nucleus_is_still_a_merge() -> None:
    errors = find_errors(drawn("1111112"), drawn("1111111"))
    assert errors.merges == {1: [1, 2]} and not errors.misses and not errors.inexact


def test_a_piece_beside_a_match_is_a_split_and_no_false_find() -> None:
    errors = find_errors(drawn("1111111"), drawn("1111122"))
    assert errors.splits == {1: [1, 2]} and not errors.false_finds and not errors.inexact


def test_an_iou_of_one_half_is_no_match() -> None:
    errors = find_errors(drawn("11......"), drawn("1......."))
    assert errors.wrong == [(1, 1)] and errors.best_iou.tolist() == [0.5]


@pytest.mark.parametrize(("truth", "prediction"), [("....", "...."), ("11..", "...."), ("....", "11..")])
def test_nothing_is_no_crash(truth: str, prediction: str) -> None:
    errors = find_errors(drawn(truth), drawn(prediction))
    counts = errors.counts()
    assert counts["miss"] == ("1" in truth) and counts["false find"] == ("1" in prediction)
    for kind in ERROR_TYPES:
        mend(kind, errors, drawn(truth), drawn(prediction))


maps = st.lists(st.integers(0, 4), min_size=24, max_size=24).map(
    lambda values: np.unique([0, *sorted(values)], return_inverse=True)[1][1:].reshape(4, 6).astype(np.int32)
)
shuffled = st.tuples(maps, st.randoms(use_true_random=False)).map(
    lambda pair: pair[1].sample(pair[0].ravel().tolist(), 24)
)


@given(shuffled, shuffled)
def test_every_nucleus_that_matches_none_is_blamed_once(a: list[int], b: list[int]) -> None:
    truth, prediction = (np.array(x, np.int32).reshape(4, 6) for x in (a, b))
    before = truth.copy(), prediction.copy()
    errors = find_errors(truth, prediction)
    tp, fp, fn = confusion(truth, prediction)[0]
    true_names, predicted_names = range(1, truth.max() + 1), range(1, prediction.max() + 1)
    merged = {t for held in errors.merges.values() for t in held}
    pieces = {p for held in errors.splits.values() for p in held}
    wrong_true, wrong_predicted = ({pair[i] for pair in errors.wrong} for i in (0, 1))
    alone_true = [*errors.misses, *wrong_true]
    alone_predicted = [*errors.false_finds, *wrong_predicted]
    assert len(alone_true) == len(set(alone_true)) and not set(alone_true) & (merged | set(errors.splits))
    assert len(alone_predicted) == len(set(alone_predicted))
    assert not set(alone_predicted) & (pieces | set(errors.merges))
    matched = (errors.best_iou > 0.5).sum()
    assert matched == tp and fn + tp == len(true_names) and fp + tp == len(predicted_names)
    explained = set(alone_true) | merged | set(errors.splits)
    assert all(errors.best_iou[t - 1] > 0.5 for t in true_names if t not in explained)
    for kind in ERROR_TYPES:
        mend(kind, errors, truth, prediction)
    assert all(np.array_equal(x, y) for x, y in zip(before, (truth, prediction), strict=True))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=12))
def test_merges_and_splits_are_counted_alike_without_the_table_of_all_pairs(
    runs: list[tuple[int, int, int]],
) -> None:
    truth, prediction = (np.repeat(np.array(runs)[:, k], np.array(runs)[:, 2])[None] for k in (0, 1))
    counts = find_errors(truth, prediction).counts()
    assert count_merges_and_splits(10**7 * truth, prediction) == (counts["merge"], counts["split"])
