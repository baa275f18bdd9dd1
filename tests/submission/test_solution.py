"""The images that a submission must have, and its score against a solution."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from nuclei.data.store import COLUMNS
from nuclei.errors import UserError
from nuclei.metrics import confusion
from nuclei.submission.csv_files import write_submission
from nuclei.submission.solution import (
    ExpectedImages,
    compare_with_solution,
    expected_images,
    index_or_nothing,
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = ["a,test,2,3,1,0,dim,a,", "t,train,9,9,1,1,dim,t,", "b,test,4,5,1,0,dim,b,", ""]
    with zipfile.ZipFile(tmp_path / "x.store", "w") as z:
        z.writestr("index.csv", "\n".join([",".join(COLUMNS), *rows]))
    return tmp_path / "x.store"


def test_the_store_has_the_sizes_of_the_test_images(store: Path) -> None:
    assert expected_images(store, "nowhere") == ExpectedImages({"a": (2, 3), "b": (4, 5)}, str(store))
    assert [row.image_id for row in index_or_nothing(store)] == ["a", "t", "b"]
    assert index_or_nothing("no.store") == []


def test_a_solution_goes_before_the_store(store: Path, tmp_path: Path) -> None:
    solution = tmp_path / "solution.csv"
    solution.write_text("ImageId,EncodedPixels,Height,Width,Usage\nc,1 2,6,7,Public\nc,9 1,6,7,Public\n")
    assert expected_images(store, "nowhere", solution) == ExpectedImages({"c": (6, 7)}, str(solution))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_sample_submission_has_no_sizes(tmp_path: Path, line_end: str, zipped: bool) -> None:
    text = line_end.join(["ImageId,EncodedPixels", "b,1 1", "a,1 1", ""]).encode()
    path = tmp_path / f"stage1_sample_submission.csv{'.zip' if zipped else ''}"
    if zipped:
        with zipfile.ZipFile(path, "w") as z:
            z.writestr(path.stem, text)
    else:
        path.write_bytes(text)
    assert expected_images(tmp_path / "no.store", tmp_path) == ExpectedImages(
        {"b": None, "a": None}, str(path)
    )


def test_none_of_them_and_damaged_ones_are_named(tmp_path: Path) -> None:
    store, sample = tmp_path / "x.store", tmp_path / "stage1_sample_submission.csv.zip"
    with pytest.raises(UserError, match=r"which images are expected\? there is no store"):
        expected_images(store, tmp_path)
    sample.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"stage1_sample_submission\.csv\.zip is damaged"):
        expected_images(store, tmp_path)
    store.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"x\.store is damaged"):
        expected_images(store, tmp_path)


TRUE = {"a": np.array([[1, 1, 0, 2], [1, 1, 0, 2]]), "b": np.zeros((2, 3), int)}
PREDICTED = {"a": np.array([[1, 1, 0, 0], [1, 1, 0, 3]]), "b": np.array([[0, 0, 0], [0, 1, 0]])}


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    path = tmp_path / "solution.csv"
    path.write_text(
        "ImageId,EncodedPixels,Height,Width,Usage\na,1 4,2,4,Public\na,7 2,2,4,Public\nb,,2,3,Private\n"
    )
    return path


def test_each_image_has_the_counts_of_the_metric(tmp_path: Path, solution: Path) -> None:
    write_submission(tmp_path / "s.csv", PREDICTED.items())
    counts = compare_with_solution(tmp_path / "s.csv", solution)
    assert list(counts) == ["a", "b"]
    for image_id, count in counts.items():
        np.testing.assert_array_equal(count, confusion(TRUE[image_id], PREDICTED[image_id]))
    assert counts["a"][0].tolist() == [1, 1, 1]  # TP, FP, FN at IoU 0.5: half a nucleus is a miss


def test_ignored_images_are_needed_and_not_scored(
    tmp_path: Path, solution: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_submission(tmp_path / "s.csv", PREDICTED.items())
    solution.write_text(solution.read_text().replace("Public", "Ignored"))
    assert list(compare_with_solution(tmp_path / "s.csv", solution)) == ["b"]
    assert "1 images are marked as ignored" in capsys.readouterr().err
    solution.write_text(solution.read_text().replace("Private", "ignored"))
    with pytest.raises(UserError, match="has no image that is not ignored"):
        compare_with_solution(tmp_path / "s.csv", solution)


def test_missing_images_and_broken_rules_are_named(tmp_path: Path, solution: Path) -> None:
    path = tmp_path / "s.csv"
    write_submission(path, [("a", PREDICTED["a"])])
    with pytest.raises(UserError, match=r"lacks 1 of the 2 images in .*solution\.csv, first b"):
        compare_with_solution(path, solution)
    path.write_text("ImageId,EncodedPixels\na,8 2\nb,\n")
    with pytest.raises(
        UserError, match=r"breaks the rules 1 times, first line 2, ImageId a: run '8 2' is out"
    ):
        compare_with_solution(path, solution)
    solution.write_text("ImageId,EncodedPixels,Height,Width,Usage\n")
    with pytest.raises(UserError, match="has no images"):
        compare_with_solution(path, solution)
