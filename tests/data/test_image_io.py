"""Image files: names, pages, depths."""

import cv2
import numpy as np
import pytest

from nuclei.data.image_io import decode_image, decode_mask, find_images, name_pages, read_pages
from nuclei.errors import UserError


def test_names_can_stand_in_a_csv_and_are_unique(tmp_path):
    for name in ("a b,c.png", "d.TIF", "note.txt"):
        (tmp_path / name).write_bytes(b"")
    assert list(find_images(tmp_path)) == ["a_b_c", "d"]
    (tmp_path / "a_b_c.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="both be called a_b_c"):
        find_images(tmp_path)


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(UserError, match="no images under"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="no file or folder"):
        find_images(tmp_path / "x")
    (tmp_path / "x.png").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"x\.png is damaged or no image"):
        list(read_pages("x", tmp_path / "x.png"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_page_of_every_depth(tmp_path, dtype):
    page = np.linspace(0, 1, 48).reshape(6, 8)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    cv2.imwritemulti(str(tmp_path / "s.tif"), [(page * top).astype(dtype), (page[::-1] * top).astype(dtype)])
    (first, a), (second, b) = read_pages("s", tmp_path / "s.tif")
    assert (first, second) == ("s_page1", "s_page2")
    assert a.dtype == np.uint8 and np.abs(a.astype(int) - page * 255).max() <= 1
    assert np.array_equal(a, b[::-1])


def test_colour_is_rgb_and_alpha_is_dropped(tmp_path):
    bgra = np.zeros((4, 5, 4), np.uint8)
    bgra[..., 2] = 9  # red
    cv2.imwrite(str(tmp_path / "c.png"), bgra)
    ((_, rgb),) = read_pages("c", tmp_path / "c.png")
    assert rgb.shape == (4, 5, 3) and (rgb == (9, 0, 0)).all()


def png(a):
    return cv2.imencode(".png", a)[1].tobytes()


def test_alpha_is_dropped_and_equal_channels_become_grey():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 9)])
    assert np.array_equal(decode_image(png(rgba), "x"), grey)
    assert np.array_equal(decode_image(png(grey), "x"), grey)


def test_colour_comes_as_rgb():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(png(rgb[..., ::-1]), "x"), rgb)


def test_sixteen_bits_fill_eight():
    a = np.array([[1000, 2000, 3000]], np.uint16)
    assert decode_image(png(a), "x").tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("data", [b"", b"not a png", png(np.zeros((4, 4), np.uint8))[:40]])
def test_damage_names_the_file(data):
    with pytest.raises(UserError, match=r"a/b.png is damaged"):
        decode_image(data, "a/b.png")


def test_masks_are_grey():
    colour = np.zeros((2, 3, 3), np.uint8)
    colour[1, 2] = 255
    assert np.argwhere(decode_mask(png(colour), "m.png")).tolist() == [[1, 2]]
    with pytest.raises(UserError, match=r"mask m.png is damaged"):
        decode_mask(b"junk", "m.png")


def test_pages_are_numbered_only_when_there_are_several():
    a = np.zeros((1, 1), np.uint8)
    assert [name for name, _ in name_pages("x", [a])] == ["x"]
    assert [name for name, _ in name_pages("x", [a, a])] == ["x_page1", "x_page2"]
