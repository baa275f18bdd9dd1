"""The run-length code against the classic loop, and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nuclei.errors import UserError
from nuclei.submission import rle

MAPS = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4))


def slow_runs(mask: np.ndarray) -> list[int]:
    """Walk over the pixels, column by column."""
    runs: list[int] = []
    before = -2
    for pixel in np.flatnonzero(mask.T.ravel()):
        if pixel > before + 1:
            runs += [int(pixel) + 1, 0]
        runs[-1] += 1
        before = pixel
    return runs


@given(MAPS)
def test_equals_the_reference(labels: np.ndarray) -> None:
    expected = [slow_runs(labels == n) for n in sorted(set(labels.flat) - {0})]
    assert [runs.tolist() for runs in rle.encode(labels)] == expected


@given(MAPS)
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_pycocotools_finds_the_same_runs(labels: np.ndarray) -> None:
    peer = pytest.importorskip("pycocotools.mask", reason="a peer of requirements-bench.txt")
    for n, runs in zip(sorted(set(labels.flat) - {0}), rle.encode(labels), strict=True):
        code = peer.encode(np.asfortranarray(labels == n))
        np.testing.assert_array_equal(peer.decode(code), rle.decode([runs], labels.shape))
        assert peer.area(code) == runs[1::2].sum()


@given(MAPS)
def test_there_and_back(labels: np.ndarray) -> None:
    _, dense = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    dense = dense[:-1].reshape(labels.shape)
    runs = rle.encode(labels)
    for rows in (runs, [rle.to_text(row) for row in runs]):
        back = rle.decode(rows, labels.shape)
        assert back.dtype == np.int32
        np.testing.assert_array_equal(back, dense)


@given(MAPS)
def test_runs_ascend_and_do_not_touch(labels: np.ndarray) -> None:
    for runs in rle.encode(labels):
        start, length = runs.reshape(-1, 2).T
        assert runs.dtype == np.int64
        assert (length >= 1).all()
        assert (start[1:] > (start + length)[:-1]).all()


def test_pixels_are_numbered_down_the_columns() -> None:
    labels = np.array(
        [
            [0, 1, 1],
            [1, 1, 0],
            [1, 0, 2],
        ]
    )
    assert [rle.to_text(runs) for runs in rle.encode(labels)] == ["2 4 7 1", "9 1"]


def test_a_hole_and_a_nested_nucleus() -> None:
    labels = np.ones((3, 3), int)
    labels[1, 1] = 2
    assert [rle.to_text(runs) for runs in rle.encode(labels)] == ["1 4 6 4", "5 1"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_one_nucleus_over_all(shape: tuple[int, int]) -> None:
    assert [runs.tolist() for runs in rle.encode(np.ones(shape, np.uint8))] == [[1, shape[0] * shape[1]]]


@pytest.mark.parametrize("labels", [np.zeros((3, 4), int), np.zeros((0, 4), int)])
def test_no_nuclei(labels: np.ndarray) -> None:
    assert rle.encode(labels) == []
    np.testing.assert_array_equal(rle.decode([], labels.shape), labels)


def test_five_thousand_nuclei() -> None:
    labels = np.random.default_rng(0).permutation(5000).reshape(50, 100) + 1
    np.testing.assert_array_equal(rle.decode(rle.encode(labels), labels.shape), labels)


def test_labels_in_fortran_order_or_cut_out_give_the_same() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (9, 12))
    cut = np.repeat(np.repeat(labels, 2, 0), 2, 1)[::2, ::2]
    for same in (np.asfortranarray(labels), cut):
        assert [a.tolist() for a in rle.encode(same)] == [a.tolist() for a in rle.encode(labels)]


@pytest.mark.parametrize(
    "labels", [np.zeros(3, int), np.zeros((3, 3)), np.zeros((3, 3), bool), np.full((2, 2), -1)]
)
def test_what_is_no_label_map_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="labels"):
        rle.encode(labels)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1 2", "3 4 5"], "row 2: expected pairs 'start length …', got 3 numbers"),
        (["1 2", ""], "row 2: expected pairs 'start length …', got 0 numbers"),
        (["1 2", "3 x"], "row 2: expected whole numbers 'start length …', got '3 x'"),
        (["1 1.5"], "row 1: expected whole numbers"),
        ([f"1 {10**30}"], "row 1: expected whole numbers"),
        (["0 1"], "row 1: run '0 1' leaves the image of 2x3, whose pixels are 1 to 6"),
        (["2 0"], "row 1: run '2 0' leaves the image"),
        (["2 -1"], "row 1: run '2 -1' leaves the image"),
        (["1 1", "6 2"], "row 2: run '6 2' leaves the image"),
        (["7 1"], "row 1: run '7 1' leaves the image"),
        ([f"6 {2**63 - 1}"], "row 1: run '6 9223372036854775807' leaves the image"),
        (["1 3", "5 1", "3 1"], "rows 1 and 3 overlap at pixel 3"),
        (["1 2 2 1"], "rows 1 and 1 overlap at pixel 2"),
    ],
)
def test_broken_rows_are_named(rows: list[str], message: str) -> None:
    with pytest.raises(UserError) as e:
        rle.decode(rows, (2, 3))
    assert message in str(e.value)


def test_where_rows_may_overlap_the_smaller_nucleus_keeps_the_pixels() -> None:
    for rows, small in ((["1 5", "2 2"], 2), (["2 2", "1 5"], 1)):
        labels = rle.decode(rows, (6, 1), allow_overlap=True)
        assert labels.ravel().tolist() == [3 - small, small, small, 3 - small, 3 - small, 0]


def test_runs_of_several_rows_are_parsed_into_columns() -> None:
    runs = rle.Runs.parse(["1 2 6 1", "", "9 3"])
    assert [column.tolist() for column in runs] == [[0, 0, 2], [1, 6, 9], [2, 1, 3]]
    assert runs.text(2) == "'9 3'"
    assert runs.beyond(10).tolist() == [False, False, True]
    assert len(rle.Runs.parse([]).row) == 0
