"""Whole images of numbers to text and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.labelmap.digits import read_rows, write_rows

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
