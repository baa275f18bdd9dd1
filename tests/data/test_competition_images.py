"""The competition's test files in all their states."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.data.sources.competition_images import find_tests, read_or_warn
from nuclei.errors import UserError

PNG = cv2.imencode(".png", np.full((2, 3), 7, np.uint8))[1].tobytes()


def put(root: Path, image_id: str, data: bytes) -> None:
    path = root / "stage1_test" / image_id / "images" / f"{image_id}.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def test_what_cannot_be_read_is_named_and_stays_in_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "b", PNG)
    put(tmp_path, "a", b"no image")
    (tmp_path / "stage1_test/c").mkdir()
    items = find_tests(tmp_path)
    assert [item.image_id for item in items] == ["a", "b", "c"]
    a, b, c = map(read_or_warn, items)
    assert a is None and c is None and b is not None and b.tolist() == [[7] * 3] * 2
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split(" cannot")[0] for line in warnings] == ["warning: a", "warning: c"]


@pytest.mark.parametrize("level", ["", "stage1_test/"])
def test_a_zip_is_read_as_it_is(tmp_path: Path, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "stage1_test.zip", "w") as z:
        z.writestr(f"{level}b/images/b.png", PNG)
        z.writestr(f"{level}a/images/a.png", b"no image")
    items = find_tests(tmp_path)
    assert [item.image_id for item in items] == ["a", "b"]
    assert read_or_warn(items[0]) is None and read_or_warn(items[1]) is not None


def test_nothing_to_do_is_no_error_but_nothing_there_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither stage1_test\.zip nor a folder"):
        find_tests(tmp_path)
    (tmp_path / "stage1_test.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="no readable zip"):
        find_tests(tmp_path)
    (tmp_path / "stage1_test").mkdir()
    assert find_tests(tmp_path) == []
