"""Anybody's files: names, pages, depths."""

import cv2
import numpy as np
import pytest

from nuclei.data.image_files import find, read
from nuclei.errors import UserError


def test_names_can_stand_in_a_csv_and_are_unique(tmp_path):
    for name in ("a b,c.png", "d.TIF", "note.txt"):
        (tmp_path / name).write_bytes(b"")
    assert list(find(tmp_path)) == ["a_b_c", "d"]
    (tmp_path / "a_b_c.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="both be called a_b_c"):
        find(tmp_path)


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(UserError, match="no images under"):
        find(tmp_path)
    with pytest.raises(UserError, match="no file or folder"):
        find(tmp_path / "x")
    (tmp_path / "x.png").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"x\.png is damaged or no image"):
        list(read("x", tmp_path / "x.png"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_page_of_every_depth(tmp_path, dtype):
    page = np.linspace(0, 1, 48).reshape(6, 8)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    cv2.imwritemulti(str(tmp_path / "s.tif"), [(page * top).astype(dtype), (page[::-1] * top).astype(dtype)])
    (first, a), (second, b) = read("s", tmp_path / "s.tif")
    assert (first, second) == ("s_page1", "s_page2")
    assert a.dtype == np.uint8 and np.abs(a.astype(int) - page * 255).max() <= 1
    assert np.array_equal(a, b[::-1])


def test_colour_is_rgb_and_alpha_is_dropped(tmp_path):
    bgra = np.zeros((4, 5, 4), np.uint8)
    bgra[..., 2] = 9  # red
    cv2.imwrite(str(tmp_path / "c.png"), bgra)
    ((_, rgb),) = read("c", tmp_path / "c.png")
    assert rgb.shape == (4, 5, 3) and (rgb == (9, 0, 0)).all()
