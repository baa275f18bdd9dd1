"""TIFF files of every layout are read by region as they are read at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from nuclei.data import tiff_reader
from nuclei.data.image_io import read_image, read_images
from nuclei.data.image_stacks import PlaneSelection, RegionImage
from nuclei.data.tiff_reader import PartOfSet
from nuclei.errors import UserError

GREY = np.random.default_rng(0).integers(0, 4000, (150, 130), np.uint16)
RGB = np.random.default_rng(1).integers(0, 255, (150, 130, 3), np.uint8)
STACK = np.random.default_rng(2).integers(0, 4000, (3, 2, 150, 130), np.uint16)
TILES = {"tile": (32, 48), "compression": "zlib"}
LAYOUTS = {
    "tiles": (GREY, TILES),
    "predictor": (GREY, {**TILES, "predictor": True}),
    "strips": (GREY, {"rowsperstrip": 16, "compression": "lzw"}),
    "raw strips": (GREY, {"rowsperstrip": 16}),
    "one raw strip": (GREY, {"rowsperstrip": 150}),
    "big-endian": (GREY, {"byteorder": ">"}),
    "big-endian tiles": (GREY, {"byteorder": ">", **TILES}),
    "float": (np.float32(GREY), TILES),
    "RGB": (RGB, {**TILES, "photometric": "rgb"}),
    "planar": (np.moveaxis(RGB, 2, 0), {**TILES, "photometric": "rgb", "planarconfig": "separate"}),
    "JPEG": (RGB, {"tile": (32, 48), "compression": "jpeg", "photometric": "rgb"}),
    "white is zero": (GREY, {**TILES, "photometric": "miniswhite"}),
    "1 bit": (GREY > 2000, {}),
    "ImageJ": (STACK, {"imagej": True, "metadata": {"axes": "ZCYX"}}),
    "ImageJ, compressed": (STACK, {"imagej": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
    "OME": (STACK, {**TILES, "ome": True, "metadata": {"axes": "ZCYX"}}),
    "samples": (
        np.moveaxis(STACK[0], 0, 2),
        {**TILES, "photometric": "minisblack", "planarconfig": "contig"},
    ),
    "pages": (STACK[0], {**TILES, "metadata": None}),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("selection", [PlaneSelection(), PlaneSelection(channel=1)])
def test_regions_are_those_of_the_whole(tmp_path, name, selection):
    pixels, options = LAYOUTS[name]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    for image, whole in zip(
        read_images(tmp_path / "a.tif", selection, large=1000),
        read_images(tmp_path / "a.tif", selection),
        strict=True,
    ):
        assert isinstance(image.pixels, RegionImage) and isinstance(whole.pixels, np.ndarray)
        assert (image.channels, image.notes) == (whole.channels, whole.notes)
        assert image.pixels.dtype == whole.pixels.dtype and image.shown.shape == whole.shown.shape
        for key in (np.s_[:, :], np.s_[40:90, 33:70], np.s_[149:, ::7]):
            assert np.array_equal(image.pixels[key], whole.pixels[key])
            assert np.array_equal(image.shown[key], whole.shown[key])
        for n in range(len(image.channels)):
            assert np.array_equal(image.read_channel(n)[10:20, 5:60], whole.read_channel(n)[10:20, 5:60])


def test_the_full_size_of_a_slide_is_read_by_region(tmp_path):
    with tifffile.TiffWriter(tmp_path / "slide.svs") as tif:
        options = {"tile": (32, 32), "compression": "jpeg", "photometric": "rgb"}
        tif.write(RGB, description="Aperio Image Library |MPP = 0.25", **options)
        tif.write(RGB[::4, ::4], **options)
    images = read_images(tmp_path / "slide.svs", large=1000)  # the file is open while this is there
    image = next(images)
    (whole,) = read_images(tmp_path / "slide.svs")
    assert isinstance(image.pixels, RegionImage) and image.pixels.shape == RGB.shape
    assert np.array_equal(image.pixels[64:100, 3:77], whole.pixels[64:100, 3:77]) and image.pixel_size == 0.25


def test_a_region_decodes_only_its_tiles(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, **TILES)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        offsets = tif.pages[0].dataoffsets
    with open(tmp_path / "a.tif", "r+b") as file:
        file.seek(offsets[-1])
        file.write(b"no zlib")
    with pytest.raises(UserError, match="damaged"):
        list(read_images(tmp_path / "a.tif"))
    stacks = tiff_reader.read_tiff(tmp_path / "a.tif", large=1000)  # the file is open while this is there
    pixels = next(stacks).read({})
    assert np.array_equal(pixels[:96, :96], GREY[:96, :96])
    with pytest.raises(Exception, match="zlib"):
        pixels[140:, 120:]


def test_a_page_in_one_compressed_strip_is_read_at_once(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", GREY, rowsperstrip=150, compression="zlib")
    monkeypatch.setattr(tiff_reader, "SEGMENT", 10_000)
    images = read_images(tmp_path / "a.tif", large=1000)
    assert np.array_equal(next(images).pixels[40:90, 33:70], GREY[40:90, 33:70])
    monkeypatch.setattr(tiff_reader, "LARGEST", 10_000)
    with pytest.raises(UserError, match=r"130 x 150 .* in one piece"):
        next(read_images(tmp_path / "a.tif", large=1000))
    tifffile.imwrite(tmp_path / "b.tif", GREY, **TILES)
    images = read_images(tmp_path / "b.tif", large=1000)
    assert np.array_equal(next(images).pixels[40:90, 33:70], GREY[40:90, 33:70])


@pytest.mark.parametrize("options", [{}, TILES])
def test_a_file_that_is_cut_short_is_refused_before_it_is_read(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", GREY, **options)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-5000])
    with pytest.raises(UserError, match="cut short"):
        next(read_images(tmp_path / "a.tif", large=1000))


def test_positions_of_an_ome_file_are_images_whatever_their_size_and_name(tmp_path):
    names, sides = ("Label-free 1", "Slide 2", "Position 3"), (128, 128, 64)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for name, side in zip(names, sides, strict=True):
            tif.write(GREY[:side, :side], metadata={"axes": "YX", "Name": name}, photometric="minisblack")
    assert [image.pixels.shape[0] for image in read_images(tmp_path / "a.ome.tif")] == [128, 128, 64]


def test_a_colour_of_pages_is_that_of_each_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RGB, 255 - RGB]), photometric="rgb", metadata=None)
    for channel in (3, "blue"):
        pages = list(read_images(tmp_path / "a.tif", PlaneSelection(channel=channel)))
        assert len(pages) == 2 and np.array_equal(pages[0].pixels, RGB[..., 2])
        assert np.array_equal(pages[1].pixels, 255 - RGB[..., 2])


def test_a_set_of_ome_files_is_one_image_and_what_is_missing_is_said(tmp_path, write_ome_set):
    write_ome_set(tmp_path, {"actin": GREY, "DAPI": GREY + 1, "tubulin": GREY + 2})
    first, second, third = sorted(tmp_path.iterdir())
    for large in (np.inf, 1000):
        (image,) = read_images(first, large=large)
        assert np.array_equal(image.pixels, GREY + 1) and image.channels == ("actin", "DAPI", "tubulin")
        assert image.pixel_size is None and "0.5 x 1 µm are not square" in image.warnings[0]
    with pytest.raises(PartOfSet, match="is read with a_C0"):
        next(read_images(second))
    (alone,) = read_images(second, alone=True)
    assert np.array_equal(alone.pixels, GREY + 1)
    third.unlink()
    (image,) = read_images(first)
    assert any("1 of 3 planes that the file names are missing" in warning for warning in image.warnings)


def test_pictures_of_a_slide_are_named_and_regions_of_interest_kept(tmp_path):
    names, sides = ("Slide 1 ROI 1", "Slide 1 ROI 2", "label image", "Macro"), (128, 96, 64, 32)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for name, side in zip(names, sides, strict=True):
            tif.write(GREY[:side, :side], metadata={"axes": "YX", "Name": name}, photometric="minisblack")
    images = list(read_images(tmp_path / "a.ome.tif"))
    assert [image.pixels.shape[0] for image in images] == [128, 96]
    assert images[0].notes == ("2 smaller copies or pictures of the slide left out: label image, Macro",)


def test_a_channel_alone_has_its_name(tmp_path):
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY[None], metadata=metadata)
    (image,) = read_images(tmp_path / "a.ome.tif", PlaneSelection(channel="DAPI"))
    assert np.array_equal(image.pixels, GREY) and image.channels == ("DAPI",)


def test_samples_beside_three_colours_are_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([RGB, RGB[..., :2]]), photometric="rgb")
    (image,) = read_images(tmp_path / "a.tif")
    assert image.notes == ("2 further samples beside red, green and blue left out",)


@pytest.mark.parametrize("resolution", [(2, 1), (2, 2)])
def test_pixels_that_are_not_square_have_no_size(tmp_path, resolution):
    tifffile.imwrite(tmp_path / "a.tif", GREY, imagej=True, resolution=resolution, metadata={"unit": "um"})
    (image,) = read_images(tmp_path / "a.tif")
    assert (image.pixel_size == 0.5) == (resolution == (2, 2)) != bool(image.warnings)


def test_a_dye_that_is_called_by_a_number_is_a_name(tmp_path: Path) -> None:
    channels = {"Name": ["nuclei", "membrane"], "Fluor": ["405", "488"]}
    planes = np.zeros((2, 8, 8), np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "CYX", "Channel": channels})
    (image,) = read_images(tmp_path / "a.ome.tif", PlaneSelection("membrane"))
    assert image.channels == ("nuclei 405", "membrane 488")


@pytest.mark.parametrize("count", [2, 5])
def test_an_array_with_channels_last_is_no_stack_of_its_rows(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 4000, (40, 50, count), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array)
    for channel in range(count):
        image = read_image(tmp_path / "a.tif", channel + 1)
        assert np.array_equal(image.pixels, array[..., channel]) and "40 pages" in image.notes[0]
    thin = rng.integers(0, 255, (3, 90, 5), dtype=np.uint8)  # a few narrow pages stay pages
    tifffile.imwrite(tmp_path / "b.tif", thin, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "b.tif", 2).pixels, thin[1])


def test_complex_numbers_are_refused_in_words(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 9), np.complex64))
    with pytest.raises(UserError, match=r"a\.tif has numbers of type complex64; save their magnitude"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("large", [0, 10**6])
@pytest.mark.parametrize("colours", [1, 3])
def test_an_image_that_stands_in_alpha_is_taken_from_it(tmp_path: Path, colours: int, large: int) -> None:
    signal = np.arange(6000, dtype=np.uint16).reshape(60, 100)
    planes = np.dstack([np.full_like(signal, 7)] * colours + [signal])
    kind = "rgb" if colours == 3 else "minisblack"
    for name, options in (("a.tif", {}), ("b.tif", {"planarconfig": "separate"}), ("c.tif", TILES)):
        values = np.moveaxis(planes, -1, 0) if "planarconfig" in options else planes
        extra = {"photometric": kind, "extrasamples": ["unassalpha"], "planarconfig": "contig", **options}
        tifffile.imwrite(tmp_path / name, values, **extra)
        for channel in (None, 1):
            for image in read_images(tmp_path / name, PlaneSelection(channel), large):
                assert np.array_equal(np.asarray(image.pixels), signal) and image.shown.ndim == 2
    planes[0, 0, 0] = 8
    tifffile.imwrite(tmp_path / "d.tif", planes, photometric=kind, extrasamples=["unassalpha"])
    (image,) = read_images(tmp_path / "d.tif")
    assert not np.array_equal(np.asarray(image.pixels), signal)
