"""Image files: names, pages, depths."""

import cv2
import numpy as np
import pytest

from nuclei.data.image_files import find_images
from nuclei.data.image_io import decode_image, decode_mask, read_image, read_images
from nuclei.errors import UserError


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(UserError, match="no images under"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="no file or folder"):
        find_images(tmp_path / "x")
    (tmp_path / "x.png").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"x\.png is no image"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_page_of_every_depth(tmp_path, dtype):
    page = np.linspace(0, 1, 48).reshape(6, 8)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    cv2.imwritemulti(str(tmp_path / "s.tif"), [(page * top).astype(dtype), (page[::-1] * top).astype(dtype)])
    first, second = read_images(tmp_path / "s.tif")
    assert (first.suffix, second.suffix) == ("_page1", "_page2")
    assert first.shown.dtype == np.uint8 and np.abs(first.shown.astype(int) - page * 255).max() <= 1
    assert np.array_equal(first.shown, second.shown[::-1]) and first.pixels.dtype == dtype


def test_colour_is_rgb_and_alpha_is_dropped(tmp_path):
    bgra = np.zeros((4, 5, 4), np.uint8)
    bgra[..., 2] = 9  # red
    cv2.imwrite(str(tmp_path / "c.png"), bgra)
    rgb = read_image(tmp_path / "c.png").shown
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
