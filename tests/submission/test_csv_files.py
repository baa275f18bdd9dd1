"""The CSV files: written whole, read as they were meant."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nuclei.errors import UserError
from nuclei.submission.csv_files import as_text, read_solution, read_submission, write_submission

TWO = np.array([[1, 0, 2], [1, 0, 2]])


def test_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.csv"
    assert write_submission(path, [("b", TWO), ("a", TWO * 0)]) == 3
    assert path.read_bytes() == b"ImageId,EncodedPixels\nb,1 2\nb,5 2\na,\n"
    assert read_submission(path) == {"b": ["1 2", "5 2"], "a": []}


def test_one_image_is_held_at_a_time(tmp_path: Path) -> None:
    handed: list[weakref.ref[np.ndarray]] = []

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for n in range(3):
            assert sum(labels() is not None for labels in handed) <= 1  # the one that was handed over last
            labels = np.ones((2, 2), int)
            handed.append(weakref.ref(labels))
            yield f"i{n}", labels
            del labels

    assert write_submission(tmp_path / "s.csv", rows()) == 3


@pytest.mark.parametrize(
    "image_id", ["a", "", "a,b", "a b", 'a"', "a\n", "=HYPERLINK(1)", "+1+1", "@SUM(A1)", "-1+1"]
)
def test_a_wrong_id_leaves_the_old_file(tmp_path: Path, image_id: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="twice, or is no plain word"):
        write_submission(path, [("a", TWO), (image_id, TWO)])
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("image_id", ["-1", "+a.b", "@x_2", "=", "a=1+1", "µ-2", "a'"])
def test_an_id_that_is_no_formula_stays_as_it_is(tmp_path: Path, image_id: str) -> None:
    write_submission(tmp_path / "s.csv", [(image_id, TWO)])
    assert list(read_submission(tmp_path / "s.csv")) == [image_id]


def test_a_formula_becomes_a_text() -> None:
    assert [as_text(text) for text in ("=1+1", "\tx", "'a", "a", "")] == ["'=1+1", "'\tx", "''a", "a", ""]


def test_read_solution(tmp_path: Path) -> None:
    path = tmp_path / "solution.csv"
    path.write_text(
        "ImageId,EncodedPixels,Height,Width,Usage\na,1 2,2,3,Public\na,5 2,2,3,Public\nb,,4,5,Private\n"
    )
    assert read_solution(path) == {"a": ((2, 3), ["1 2", "5 2"]), "b": ((4, 5), [])}


def test_a_nucleus_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    labels = np.ones((400, 500), int)
    labels[::2] = 0
    write_submission(path, [("a", labels)])
    assert len(read_submission(path)["a"][0]) > 131072


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot read"),
        (b"", "lacks the column ImageId"),
        (
            b"ImageId,Pixels\na,1 2\n",
            "lacks the column EncodedPixels; its first line is ['ImageId', 'Pixels']",
        ),
        (b"ImageId,EncodedPixels\na,1 2\nb\n", "line 3: expected 2 fields, got 1"),
        (b"\x1f\x8b\x08\x00", "is no CSV text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "s.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as e:
        read_submission(path)
    assert message in str(e.value)
    assert str(path) in str(e.value)


def test_a_solution_without_sizes(tmp_path: Path) -> None:
    path = tmp_path / "solution.csv"
    path.write_text("ImageId,EncodedPixels\na,1 2\n")
    with pytest.raises(UserError, match="lacks the column Height"):
        read_solution(path)
    path.write_text("ImageId,EncodedPixels,Height,Width\na,1 2,,3\n")
    with pytest.raises(UserError, match="image a has the size '' x '3'"):
        read_solution(path)
