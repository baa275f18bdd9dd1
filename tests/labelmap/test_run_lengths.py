"""Runs of label maps, their text, and back, against plain Python."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuclei.labelmap.run_lengths import column_run_starts, paint_runs, read_rows, sort_by_nucleus, write_rows

NUMBERS = st.lists(st.integers(1, 10**18 - 1).flatmap(lambda n: st.sampled_from([n, n % 97 + 1])), max_size=6)


def read(text: str) -> tuple[list[int], list[int], bool]:
    numbers, counts, good = read_rows(np.frombuffer(text.encode(), np.uint8))
    return numbers.tolist(), counts.tolist(), good


@given(st.lists(NUMBERS.map(lambda row: row[: len(row) // 2 * 2]), max_size=5))
def test_there_and_back(rows: list[list[int]]) -> None:
    """A nucleus without runs, which a gap in the numbering leaves, has no line."""
    ends = np.cumsum([0, 0, *(len(row) // 2 for row in rows)])
    numbers = np.array([n for row in rows for n in row], np.int64)
    text = write_rows(np.frombuffer(b"id,", np.uint8), numbers, ends).tobytes().decode()
    kept = [row for row in rows if row]
    assert text == "".join(f"id,{' '.join(map(str, row))}\n" for row in kept)
    assert read(text.replace("id,", "")) == (numbers.tolist(), [len(row) for row in kept], True)


@given(st.text("0123456789 \n-+_.x", max_size=30))
def test_what_is_read_is_what_python_reads(text: str) -> None:
    numbers, counts, good = read(text + "\n")
    lines = (text + "\n").split("\n")[:-1]
    plain = all(line == " ".join(line.split()) and line for line in lines) and not set(text) & set("-+_.x")
    assert good == (plain and all(len(word) <= 18 for word in text.split()))
    if good:
        assert numbers == [int(word) for word in text.split()]
        assert counts == [len(line.split()) for line in lines]


@pytest.mark.parametrize(
    "text", ["1 2", "1 2 \n", " 1 2\n", "\n", "1  2\n", f"1 {10**18}\n", f"{10**30} 1\n"]
)
def test_other_forms_are_left_to_the_careful_reader(text: str) -> None:
    assert not read(text)[2]


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)))
def test_runs_down_the_columns_are_those_of_itertools(labels: np.ndarray) -> None:
    down = labels.T.ravel()
    expected, start = [], 0
    for label, group in groupby(down.tolist()):
        length = len(list(group))
        expected.append((label, start + 1, length))
        start += length
    starts = column_run_starts(labels)
    assert starts.tolist() == [run[1] - 1 for run in expected]
    runs, ends = sort_by_nucleus(starts, down[starts], labels.size)
    for n in range(1, labels.max() + 1):
        assert runs[ends[n] : ends[n + 1]].tolist() == [[s, k] for label, s, k in expected if label == n]


def test_the_smaller_nucleus_keeps_shared_pixels_and_the_later_of_equals() -> None:
    #     1 1 1 1 . .        row by row: columns of one pixel
    #     . . . 2 2 .
    #     . . . . 3 3
    starts, lengths, labels = np.array([1, 4, 5]), np.array([4, 2, 2]), np.array([1, 2, 3], np.int32)
    image, overlap = paint_runs(starts, lengths, labels, np.array([0, 4, 2, 2]), 1, 6)
    assert image.tolist() == [[1, 1, 1, 2, 3, 3]] and overlap
    image, overlap = paint_runs(starts[:2], lengths[:2], labels[:2], np.array([0, 4, 5]), 3, 2)
    assert image.tolist() == [[1, 1], [1, 2], [1, 0]] and overlap
