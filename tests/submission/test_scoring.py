"""A submission is compared with a solution, image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuclei.errors import UserError
from nuclei.metrics import confusion
from nuclei.submission.csv_files import write_submission
from nuclei.submission.scoring import compare_with_solution

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
