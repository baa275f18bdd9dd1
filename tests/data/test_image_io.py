"""Image files: names, pages, depths; and OME-Zarr of both versions: plates, series, photographs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zarr
from PIL import Image

from nuclei.data import image_io
from nuclei.data.image_files import find_images
from nuclei.data.image_io import decode_image, decode_mask, read_image, read_images
from nuclei.data.image_stacks import PlaneSelection, RegionImage
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


@pytest.mark.parametrize("colour", [0, 255])
def test_an_image_that_stands_in_alpha_is_taken_from_it(tmp_path: Path, colour: int) -> None:
    signal = np.arange(12, dtype=np.uint8).reshape(3, 4)
    plane = np.full_like(signal, colour)
    for name, channels in (("a.png", [plane] * 3), ("b.webp", [plane] * 3), ("c.png", [plane])):
        Image.fromarray(np.dstack([*channels, signal])).save(tmp_path / name, lossless=True, exact=True)
        assert np.array_equal(read_image(tmp_path / name).pixels, signal)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "avif"])
def test_each_frame_of_an_animation_is_an_image(tmp_path: Path, ending: str) -> None:
    planes = [np.full((16, 20), value, np.uint8) for value in (40, 90, 200)]
    first, *others = (Image.fromarray(plane) for plane in planes)
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=others, duration=100)
    images = list(read_images(tmp_path / f"a.{ending}"))
    assert [image.suffix for image in images] == ["_page1", "_page2", "_page3"]
    for image, plane in zip(images, planes, strict=True):
        assert np.abs(image.pixels.astype(int) - plane).max() <= 3


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


STACK = np.random.default_rng(0).integers(0, 4000, (2, 3, 90, 70), np.uint16)
AXES = [
    {"name": "c", "type": "channel"},
    *({"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"),
]


def write_image(group: Any, pixels: np.ndarray, version: str, axes: Any = AXES, **more: Any) -> None:
    """Write an image at its full and at half its size."""
    datasets = []
    for n, level in enumerate((pixels, pixels[..., ::2, ::2])):
        chunks = (*[1] * (level.ndim - 2), 32, 32)
        group.create_array(str(n), shape=level.shape, chunks=chunks, dtype=level.dtype)[:] = level
        scale = {"type": "scale", "scale": [*[1.0] * (level.ndim - 2), 0.5 * 2**n, 0.5 * 2**n]}
        datasets.append({"path": str(n), "coordinateTransformations": [scale]})
    multiscale = {"version": version, "datasets": datasets} | ({"axes": axes} if axes else {})
    metadata = {"multiscales": [multiscale], **more}
    group.attrs.update({"ome": {**metadata, "version": version}} if version >= "0.5" else metadata)


def new(path: Path, version: str = "0.4") -> zarr.Group:
    return zarr.create_group(path, zarr_format=3 if version >= "0.5" else 2)


@pytest.mark.parametrize("version", ["0.1", "0.4", "0.5"])
def test_an_image_of_each_version(tmp_path, version):
    path = tmp_path / "a.ome.zarr"
    omero = {"channels": [{"label": "WGA"}, {"label": "DAPI"}]}
    old = version == "0.1"
    write_image(
        new(path, version), STACK[None] if old else STACK, version, None if old else AXES, omero=omero
    )
    assert list(find_images(tmp_path).files.values()) == [path] == list(find_images(path).files.values())
    for large, kind in ((1000, RegionImage), (10**6, np.ndarray)):
        (image,) = read_images(path, large=large)
        assert isinstance(image.pixels, kind) and image.channels == ("WGA", "DAPI")
        assert image.pixel_size == (None if old else 0.5)
        assert np.array_equal(image.pixels[30:60, 11:50], STACK[1].max(axis=0)[30:60, 11:50])
    assert np.array_equal(read_image(path, channel="wga", z=2).pixels, STACK[0, 1])


def test_a_photograph_is_read_in_colour(tmp_path):
    rgb = np.random.default_rng(1).integers(0, 255, (3, 90, 70), np.uint8)
    channels = [{"label": str(n), "color": c} for n, c in enumerate(image_io.PHOTOGRAPH)]
    write_image(new(tmp_path / "a.zarr"), rgb, "0.4", [AXES[0], *AXES[2:]], omero={"channels": channels})
    (image,) = read_images(tmp_path / "a.zarr", large=1000)
    assert image.pixels.shape == (90, 70, 3) and np.array_equal(
        np.asarray(image.pixels), rgb.transpose(1, 2, 0)
    )
    assert image.channels == ("red", "green", "blue")
    green = read_image(tmp_path / "a.zarr", channel="green")
    assert np.array_equal(green.pixels, rgb[1])


def test_each_field_of_a_plate_and_each_series_is_an_image(tmp_path):
    plate = new(tmp_path / "p.zarr")
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    for n, well in enumerate(("A/1", "B/2")):
        fields = range(2 - n)
        plate.create_group(well).attrs["well"] = {"images": [{"path": str(f)} for f in fields]}
        for f in fields:
            write_image(plate.create_group(f"{well}/{f}"), STACK + n + 10 * f, "0.4")
    images = list(read_images(tmp_path / "p.zarr", PlaneSelection(channel=1, z=1)))
    assert [i.suffix for i in images] == ["_A1_field1", "_A1_field2", "_B2"]
    assert [int(np.asarray(i.pixels)[0, 0] - STACK[0, 0, 0, 0]) for i in images] == [0, 10, 1]

    series = new(tmp_path / "s.zarr")
    series.attrs["bioformats2raw.layout"] = 3
    series.create_group("OME")
    for n in range(11):
        write_image(series.create_group(str(n)), STACK + n, "0.4")
    images = list(read_images(tmp_path / "s.zarr", PlaneSelection(channel=1, z=1)))
    assert [i.suffix for i in images] == [f"_series{n}" for n in range(1, 12)]
    assert int(np.asarray(images[10].pixels)[0, 0] - STACK[0, 0, 0, 0]) == 10


def test_a_folder_that_is_no_image_is_named_in_one_line(tmp_path):
    zarr.create_array(tmp_path / "array.zarr", shape=(9, 9), dtype="u1")
    new(tmp_path / "group.zarr")
    (tmp_path / "empty.zarr").mkdir()
    damaged = "is damaged or no image that can be read"
    problems = {
        "array": f"{damaged}: a bare Zarr array",
        "group": f"{damaged}: no multiscales",
        "empty": ": No group found",
    }
    for name, problem in problems.items():
        with pytest.raises(UserError, match=rf"{name}\.zarr ?{problem}") as error:
            list(read_images(tmp_path / f"{name}.zarr"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("unit", "factor"), [("nanometer", 1e-3), ("millimeter", 1e3), ("parsec", None)])
def test_units_are_spelt_out(tmp_path: Path, unit: str, factor: float | None) -> None:
    axes = [{"name": name, "type": "space", "unit": unit} for name in "yx"]
    write_image(new(tmp_path / "a.zarr"), STACK[0, 0], "0.4", axes)
    assert read_image(tmp_path / "a.zarr").pixel_size == (factor and pytest.approx(0.5 * factor))
