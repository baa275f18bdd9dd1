"""Files as people have them: each is read, or named, and its nuclei are found."""

from __future__ import annotations

import csv
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import roifile
import skimage.io
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

import nuclei
from nuclei.cli import main
from nuclei.data.image_io import read_image, read_images
from nuclei.data.image_stacks import PlaneSelection, SourceImage
from nuclei.data.preprocessing import ImageHints, judge_modality, preprocess
from nuclei.data.sources.dsb2018 import Dsb2018, find_test_images
from nuclei.inference.segmenter import Segmenter

sys.path.insert(0, str(Path(__file__).parent))
from drawing import N, draw, grey8, grey12, hits

IMAGE, TRUTH = draw()
CYTOPLASM = np.clip(gaussian_filter((TRUTH > 0).astype(float), 9) * 1.6, 0, 1)
JUNK = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(80)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return nuclei.load_model()


def found(model: Segmenter, image: SourceImage, **hints: object) -> int:
    """Return how many of the drawn nuclei a model finds in an image; each false one counts against it."""
    labels = model.labels(model.maps(image.shown, ImageHints(**hints)))
    return hits(TRUTH, labels) - max(0, int(labels.max()) - N)


def write(path: Path, image: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, image, **options)
    else:
        path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def predict(*words: str) -> int:
    return main(["predict", *words])


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


# What is shown to the network


def test_pixels_that_are_no_number_do_not_blank_the_image(model: Segmenter, tmp_path: Path) -> None:
    for value in (np.nan, np.inf, -np.inf):
        a = IMAGE.astype(np.float32)
        a[:3], a[:, :4] = value, value
        image = read_image(write(tmp_path / "a.tif", a))
        assert found(model, image) == N and "no finite numbers" in image.warnings[0]
    nothing = read_image(write(tmp_path / "b.tif", np.full((9, 9), np.nan, np.float32)))
    assert not nothing.shown.any() and "no pixel is" in nothing.warnings[0]


@pytest.mark.parametrize("hot", [1, 60])
def test_hot_pixels_hide_nothing(model: Segmenter, tmp_path: Path, hot: int) -> None:
    a = (100 + IMAGE * 250).astype(np.uint16)
    rng = np.random.default_rng(1)
    a[rng.integers(0, 128, hot), rng.integers(0, 168, hot)] = 65535
    image = read_image(write(tmp_path / "a.tif", a))
    assert found(model, image) == N and "clipped" in image.warnings[0]


@pytest.mark.parametrize("scale", [4095, 4095 * 16, 12])
def test_depth_does_not_matter(model: Segmenter, tmp_path: Path, scale: int) -> None:
    a = np.round(200 * (scale == 12) + IMAGE * scale).astype(np.uint16)
    assert found(model, read_image(write(tmp_path / "a.tif", a))) == N


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_dyes_stored_in_colour_are_fluorescence(model: Segmenter, tmp_path: Path, shift: int) -> None:
    a = np.zeros((*TRUTH.shape, 3), np.uint8)
    a[..., shift] = grey8(IMAGE)  # blue, green or red alone
    image = read_image(write(tmp_path / "a.png", a))
    assert judge_modality(image.shown) == ("fluorescence", False) and found(model, image) == N


def test_of_several_dyes_the_blue_one_is_taken(model: Segmenter, tmp_path: Path) -> None:
    a = np.dstack([grey8(IMAGE), grey8(CYTOPLASM), grey8(IMAGE) * 0])
    assert found(model, read_image(write(tmp_path / "a.png", a))) == N
    green = read_image(tmp_path / "a.png", channel="green")
    assert np.array_equal(green.pixels, a[..., 1]) and green.notes[0].startswith("channel 2 of 3: green")


@pytest.mark.parametrize("colour", [(0, 255, 255), (0, 0, 255), (255, 255, 0)])
def test_a_coloured_scale_bar_makes_no_histology(
    model: Segmenter, tmp_path: Path, colour: tuple[int, int, int]
) -> None:
    a = np.repeat(grey8(IMAGE)[..., None], 3, 2)
    a[122:125, 110:160] = colour
    image = read_image(write(tmp_path / "a.png", a))
    assert judge_modality(image.shown) == ("fluorescence", False) and found(model, image) == N


@pytest.mark.parametrize(
    "colour_map", [cv2.COLORMAP_JET, cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_HOT, cv2.COLORMAP_WINTER]
)
def test_colours_of_a_plot_are_intensities(model: Segmenter, tmp_path: Path, colour_map: int) -> None:
    a = cv2.applyColorMap(grey8(IMAGE), colour_map)
    for name in ("a.png", "a.jpg"):
        image = read_image(write(tmp_path / name, a))
        assert "intensities of the colour map" in image.notes[-1] and found(model, image) == N
    assert hits(TRUTH, nuclei.segment(a[..., ::-1], model)) == N


def test_a_white_scale_bar_is_no_nucleus(model: Segmenter, tmp_path: Path) -> None:
    a = grey8(IMAGE * 0.3)
    a[122:126, 110:160] = 255
    image = read_image(write(tmp_path / "a.png", a))
    assert found(model, image) == N and image.notes == ("1 scale bar left out",)
    assert model.labels(model.maps(image.shown)).max() == N


@pytest.mark.parametrize("kind", ["grey", "blue", "16 bits", "jpeg", "black on white"])
def test_a_burnt_in_caption_is_no_nucleus(model: Segmenter, tmp_path: Path, kind: str) -> None:
    a, scale = grey8(IMAGE * 0.6), 1
    if kind == "16 bits":
        a, scale = a.astype(np.uint16) * 8, 257
    if kind == "blue":
        a = np.dstack([a, 0 * a, 0 * a])
    text = np.zeros(a.shape[:2], np.uint8)
    cv2.putText(text, "20 um", (4, 124), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
    a[text > 200] = 255 * scale
    if kind == "black on white":
        a = 255 - a
    image = read_image(
        write(tmp_path / ("a.tif" if scale > 1 else "a.jpg" if kind == "jpeg" else "a.png"), a)
    )
    assert "1 caption left out" in image.notes and found(model, image) == N
    assert model.labels(model.maps(image.shown)).max() == N


def test_marks_in_a_large_image_are_left_out_region_by_region(tmp_path: Path) -> None:
    a = np.tile(grey8(IMAGE * 0.4), (30, 24))
    a[3000:3020, 3200:3600] = 255
    file = write(tmp_path / "a.tif", a, tile=(256, 256))
    image = next(images := read_images(file, large=12e6))
    assert image.notes == ("1 scale bar left out",) and image.shown[2990:3030, 3190:3610].max() < 120
    assert np.array_equal(image.shown[:900, :900], a[:900, :900])
    images.close()


def test_saturated_debris_does_not_hide_dim_nuclei(model: Segmenter, tmp_path: Path) -> None:
    a = grey12(IMAGE * 0.1)
    a[:14, :14] = 65535
    image = read_image(write(tmp_path / "a.tif", a))
    assert found(model, image) >= N - 1 and "clipped" in image.warnings[0]
    for colours in (1, 3):
        b = np.repeat(grey8(IMAGE * 0.12)[..., None], colours, 2)
        b[:14, :14] = 255
        image = read_image(write(tmp_path / "b.png", b))
        assert found(model, image) >= N - 1 and "clipped" in image.warnings[0]


def test_look_up_tables_are_undone(model: Segmenter, tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16) * 257
    for channel in range(3):
        lut = np.zeros((3, 256), np.uint16)
        lut[channel] = ramp
        file = write(tmp_path / "a.tif", grey8(IMAGE), photometric="palette", colormap=lut)
        assert found(model, read_image(file)) == N
    for shades in (
        cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_HSV),
        ramp[::-1, None, None],
    ):
        lut = np.broadcast_to(shades.reshape(256, -1).T, (3, 256)).astype(np.uint16)
        file = write(tmp_path / "a.tif", grey8(IMAGE), photometric="palette", colormap=lut * 257)
        assert found(model, read_image(file)) == N
    for n, palette in enumerate((np.arange(256)[:, None].repeat(3, 1), np.arange(256)[:, None] * [0, 1, 0])):
        picture = Image.fromarray(grey8(IMAGE)).convert("P")
        picture.putpalette(palette.ravel().tolist())
        picture.save(tmp_path / f"{n}.png", transparency=0)
        assert found(model, read_image(tmp_path / f"{n}.png")) == N


def test_a_bright_ground_below_brighter_nuclei_stays_fluorescence(model: Segmenter, tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", grey8(np.clip(IMAGE * 0.5 + 0.47, 0, 1))))
    assert judge_modality(image.shown) == ("fluorescence", False) and found(model, image) == N


def test_modality_and_polarity_can_be_said(model: Segmenter, tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", 255 - grey8(IMAGE)))
    assert found(model, image) == N
    assert found(model, image, modality="fluorescence", invert=True) == N
    pixels, wrong = np.asarray(image.pixels), ImageHints("fluorescence", invert=False)
    shown = preprocess(pixels, "nuclei_rgb"), preprocess(pixels, "nuclei_rgb", wrong)
    assert np.abs(shown[0].astype(int) + shown[1] - 255).mean() < 40  # one is about the other's negative


def test_white_may_be_zero_and_masks_have_one_bit(model: Segmenter, tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", 255 - grey8(IMAGE), photometric="miniswhite")
    assert found(model, read_image(file)) == N
    mask = Image.fromarray(TRUTH > 0).convert("1")
    for options in ({}, {"compression": "group4"}, {"tiffinfo": {262: 0}}):
        mask.save(tmp_path / "b.tif", **options)
        assert found(model, read_image(tmp_path / "b.tif")) == N


def test_printers_colours(model: Segmenter, tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(grey8(IMAGE)[..., None], 3, 2)).convert("CMYK")
    for name in ("a.jpg", "a.tif"):
        picture.save(tmp_path / name)
        assert found(model, read_image(tmp_path / name)) == N


def test_alpha_is_no_signal(model: Segmenter, tmp_path: Path) -> None:
    a = np.round(IMAGE * 400).astype(np.uint16)
    rgba = np.dstack([a, a, a, np.full_like(a, 65535)])
    write(tmp_path / "a.png", rgba)
    write(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        image = read_image(tmp_path / name)
        assert np.array_equal(image.pixels, a) and found(model, image) == N


def test_nothing_is_found_where_nothing_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(5)
    write(tmp_path / "in/flat.png", np.full((90, 90), 128, np.uint8))
    write(tmp_path / "in/noise.tif", rng.normal(110, 4, (128, 168)).round().astype(np.uint16))
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    assert [r["nuclei"] for r in rows(tmp_path / "out/images.csv")] == ["0", "0"]
    assert rows(tmp_path / "out/nuclei.csv") == []
    assert capsys.readouterr().err.count("no nuclei were found") == 2


# Axes and pages


def test_an_imagej_stack_has_channels_and_slices(model: Segmenter, tmp_path: Path) -> None:
    planes = [[CYTOPLASM, gaussian_filter(IMAGE, s)] for s in (3, 0.01, 3)]
    stack = grey12(np.array(planes))
    labels = {"axes": "ZCYX", "unit": "um"}
    file = write(tmp_path / "a.tif", stack, imagej=True, resolution=(4, 4), metadata=labels)
    (image,) = read_images(file)
    assert np.array_equal(image.pixels, stack[:, 1].max(axis=0)) and image.pixel_size == 0.25
    assert "no name tells" in image.warnings[0] and image.notes[-1] == "maximum of 3 slices"
    assert found(model, image) == N
    (image,) = read_images(file, PlaneSelection(channel=2, z=2))
    assert np.array_equal(image.pixels, stack[1, 1]) and found(model, image) == N and not image.warnings
    named = labels | {"Labels": ["membrane", "Hoechst 33342"] * 3}
    (image,) = read_images(write(file, stack, imagej=True, metadata=named))
    assert np.array_equal(image.pixels, stack[:, 1].max(axis=0))
    for selection in (
        PlaneSelection(channel=3),
        PlaneSelection(channel="GFP"),
        PlaneSelection(z=4),
        PlaneSelection(t=2),
    ):
        with pytest.raises(nuclei.UserError, match=r"a\.tif: (channel|z|t)="):
            list(read_images(file, selection))


def test_an_imagej_stack_with_one_directory_has_all_its_pages(tmp_path: Path) -> None:
    stack = grey12(np.stack([IMAGE * f for f in (1, 0.8, 0.6)]))
    file = write(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TYX"})
    data = bytearray(file.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    first = struct.unpack(order + "I", data[4:8])[0]
    at = first + 2 + 12 * struct.unpack(order + "H", data[first : first + 2])[0]
    data[at : at + 4] = bytes(4)
    file.write_bytes(data)
    images = list(read_images(file))
    assert [i.suffix for i in images] == ["_t1", "_t2", "_t3"]
    assert all(np.array_equal(i.pixels, page) for i, page in zip(images, stack, strict=True))
    (second,) = read_images(file, PlaneSelection(t=2))
    assert np.array_equal(second.pixels, stack[1])
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(nuclei.UserError, match=r"a\.tif is damaged"):
        list(read_images(file))


def test_ome_names_the_channel(model: Segmenter, tmp_path: Path) -> None:
    stack = grey12(np.stack([CYTOPLASM, IMAGE * 0.1, IMAGE]))
    metadata = {"axes": "CYX", "Channel": {"Name": ["WGA", "FITC", "DAPI"]}, "PhysicalSizeX": 325.0}
    metadata |= {"PhysicalSizeXUnit": "nm"}
    file = write(tmp_path / "a.ome.tif", stack, photometric="minisblack", metadata=metadata)
    image = read_image(file)
    assert np.array_equal(image.pixels, stack[2]) and image.pixel_size == pytest.approx(0.325)
    assert image.notes == ("channel 3 of 3: DAPI of WGA, FITC, DAPI",)
    assert np.array_equal(nuclei.read_image(file, channel="wga"), stack[0])
    assert np.array_equal(nuclei.read_image(file, channel=2), stack[1])


def test_further_samples_are_channels(tmp_path: Path) -> None:
    a = grey12(IMAGE)
    for count in (2, 5):
        samples = np.stack([a // (n + 1) for n in range(count)], -1)
        for planar in ("contig", "separate"):
            data = samples if planar == "contig" else np.moveaxis(samples, -1, 0)
            file = write(tmp_path / "a.tif", data, photometric="minisblack", planarconfig=planar)
            (image,) = read_images(file, PlaneSelection(channel=2))
            assert np.array_equal(image.pixels, a // 2) and len(image.channels) == count


def test_pages_of_unknown_meaning_stay_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", np.stack([grey8(IMAGE)] * 4), photometric="minisblack")
    assert [i.suffix for i in read_images(file)] == [f"_page{n}" for n in range(1, 5)]


def test_of_a_pyramid_only_the_full_size_is_taken(tmp_path: Path) -> None:
    a = grey8(IMAGE)
    with tifffile.TiffWriter(tmp_path / "sub.ome.tif") as t:
        t.write(a, subifds=1, metadata={"axes": "YX"})
        t.write(a[::2, ::2], subfiletype=1)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as t:
        t.write(a)
        t.write(a[::4, ::4])
        t.write(a[::2, ::2], subfiletype=1)
        t.write(np.full((40, 60, 3), 230, np.uint8), photometric="rgb", description="label")
        t.write(np.full((30, 80, 3), 200, np.uint8), photometric="rgb", description="macro")
    for name in ("sub.ome.tif", "pages.tif"):
        (image,) = read_images(tmp_path / name)
        assert np.array_equal(image.pixels, a) and image.suffix == ""
    assert (
        image.notes == ("4 smaller copies or pictures of the slide left out",)
        or "3 smaller" in image.notes[0]
    )


def test_labels_lie_as_the_file_is_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name in ("a.jpg", "a.png"):
        Image.fromarray(grey8(IMAGE)).save(tmp_path / name, exif=exif)
    write(tmp_path / "a.tif", grey8(IMAGE), extratags=[(274, "H", 1, 6, True)])
    for name in ("a.jpg", "a.png", "a.tif"):
        assert read_image(tmp_path / name).shown.shape == TRUTH.shape


# Kinds of files

COMPRESSIONS = {
    "lzw": {"compression": "lzw", "predictor": True},
    "packbits": {"compression": "packbits"},
    "zstd": {"compression": "zstd"},
    "lzma": {"compression": "lzma"},
    "j2k": {"compression": "jpeg2000"},
    "lerc": {"compression": "lerc"},
    "jxl": {"compression": "jpegxl"},
    "tiled": {"tile": (64, 64), "compression": "zlib"},
    "big": {"bigtiff": True, "byteorder": ">"},
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_tiff(tmp_path: Path, name: str) -> None:
    a = grey12(IMAGE)
    assert np.array_equal(read_image(write(tmp_path / "a.tif", a, **COMPRESSIONS[name])).pixels, a)


def test_compressed_colour(tmp_path: Path) -> None:
    rgb = np.repeat(grey8(IMAGE)[..., None], 3, 2)
    for options in ({"compression": 33005, "tile": (64, 64)}, {"compression": "webp"}):
        image = read_image(write(tmp_path / "a.tif", rgb, photometric="rgb", **options))
        assert np.abs(image.shown.astype(int) - rgb[..., 0]).mean() < 3


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float16", "float32", "float64"])
def test_odd_types(model: Segmenter, tmp_path: Path, dtype: str) -> None:
    top = {"int8": 120, "int16": 30000}.get(dtype, 100_000 if "int" in dtype else 1)
    a = (IMAGE * top - (0 if dtype[0] == "u" else 0.02 * top)).astype(dtype)
    assert found(model, read_image(write(tmp_path / "a.tif", a))) == N


@pytest.mark.parametrize("ending", ["bmp", "jp2", "webp", "gif", "pgm"])
def test_other_formats(model: Segmenter, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    if ending == "gif":
        Image.fromarray(grey8(IMAGE)).save(file)
    else:
        write(file, grey8(IMAGE))
    assert found(model, read_image(file)) == N


def test_what_is_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/a.png", grey8(IMAGE))
    (tmp_path / "in/b.czi").write_bytes(b"ZISRAWFILE" + bytes(600))
    (tmp_path / "in/c.vsi").write_bytes(b"x")
    (tmp_path / "in/d.tiff.gz").write_bytes(b"x")
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 2
    said = capsys.readouterr()
    assert "pip install bioio bioio-czi" in said.err and "c.vsi: .vsi files are not read" in said.err
    assert "d.tiff.gz: unpack it" in said.err and "3 files skipped" in said.out
    assert len(rows(tmp_path / "out/images.csv")) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (2, 2), (7, 700)])
def test_extreme_shapes(model: Segmenter, tmp_path: Path, shape: tuple[int, int]) -> None:
    image = read_image(write(tmp_path / "a.tif", np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)))
    assert model.labels(model.maps(image.shown)).shape == shape


def test_one_bad_file_costs_itself_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/good.png", grey8(IMAGE))
    for ending in ("png", "jpg", "tif"):
        data = cv2.imencode(f".{ending}", grey8(IMAGE))[1].tobytes()
        (tmp_path / f"in/cut.{ending}").write_bytes(data[: len(data) // 2])
    (tmp_path / "in/empty.png").write_bytes(b"")
    (tmp_path / "in/page.jpg").write_text("<html>404</html>")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    (tmp_path / "in/huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    write(tmp_path / "in/huge.tif", np.zeros((4, 4), np.uint8))
    with tifffile.TiffFile(tmp_path / "in/huge.tif", mode="r+b") as t:
        t.pages[0].tags["ImageWidth"].overwrite(60000)
        t.pages[0].tags["ImageLength"].overwrite(60000)
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 2
    err = capsys.readouterr().err
    for name in ("cut.png", "cut.jpg", "cut.tif", "empty.png", "page.jpg", "huge.png", "huge.tif"):
        assert f"in/{name}" in err, name
    assert [(r["image"], r["nuclei"]) for r in rows(tmp_path / "out/images.csv")] == [("good", str(N))]


# Results


def test_label_maps_open_everywhere_and_keep_the_pixel_size(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", grey12(IMAGE), imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    assert predict(f"input={file}", f"output={tmp_path}/out") == 0
    labels = tmp_path / "out/labels/a.tif"
    for read in (tifffile.imread, skimage.io.imread, lambda p: cv2.imread(str(p), -1)):
        assert hits(TRUTH, read(labels)) == N
    with tifffile.TiffFile(labels) as t:
        assert t.imagej_metadata["unit"] == "um" and t.pages[0].tags["XResolution"].value[0] == 4
    row = rows(tmp_path / "out/nuclei.csv")[0]
    assert float(row["area_um2"]) == pytest.approx(float(row["area"]) / 16, abs=1e-3)
    assert float(row["major_axis_um"]) == pytest.approx(float(row["major_axis"]) / 4, abs=1e-3)
    assert predict(f"input={file}", f"output={tmp_path}/out", "pixel_size=0.5") == 0
    row = rows(tmp_path / "out/nuclei.csv")[0]
    assert float(row["area_um2"]) == pytest.approx(float(row["area"]) / 4, abs=1e-3)


def test_outlines_for_qupath_and_imagej(tmp_path: Path) -> None:
    file = write(tmp_path / "a.png", grey8(IMAGE))
    assert predict(f"input={file}", f"output={tmp_path}/out", "save=[labels,geojson,rois]") == 0
    assert not (tmp_path / "out/overlays").exists()
    features = json.loads((tmp_path / "out/geojson/a.geojson").read_text())["features"]
    rois = roifile.roiread(tmp_path / "out/rois/a.zip")
    labels = tifffile.imread(tmp_path / "out/labels/a.tif")
    assert len(features) == len(rois) == N
    for number, roi in enumerate(rois, 1):
        drawn = np.zeros(labels.shape, np.uint8)
        cv2.fillPoly(drawn, [np.round(roi.coordinates() - 0.5).astype(np.int32)], 1)
        mask = labels == number
        assert (mask & (drawn > 0)).sum() / (mask | (drawn > 0)).sum() > 0.85


def test_intensities_are_those_of_the_file(tmp_path: Path) -> None:
    for name, exposure in (("full", 3000), ("half", 1500)):
        write(tmp_path / f"in/{name}.tif", np.round(100 + IMAGE * exposure).astype(np.uint16))
    stack = grey12(np.stack([CYTOPLASM, IMAGE]))
    metadata = {"axes": "CYX", "Channel": {"Name": ["actin", "DAPI"]}}
    write(tmp_path / "in/two.ome.tif", stack, photometric="minisblack", metadata=metadata)
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    table = rows(tmp_path / "out/nuclei.csv")
    mean = {
        n: np.mean([float(r["mean_intensity"]) for r in table if r["image"] == n]) for n in ("full", "half")
    }
    assert mean["full"] > 1000 and (mean["full"] - 100) / (mean["half"] - 100) == pytest.approx(2, rel=0.02)
    labels = tifffile.imread(tmp_path / "out/labels/two.ome.tif")
    first = next(r for r in table if r["image"] == "two.ome")
    assert float(first["mean_intensity_actin"]) == pytest.approx(stack[0][labels == 1].mean(), abs=1e-3)
    assert first["mean_intensity"] == first["mean_intensity_DAPI"] and not table[0]["mean_intensity_actin"]


def test_every_image_has_a_row(tmp_path: Path) -> None:
    write(tmp_path / "in/a.png", grey8(IMAGE))
    write(tmp_path / "in/b.png", np.full((60, 70), 20, np.uint8))
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out", "modality=fluorescence") == 0
    a, b = rows(tmp_path / "out/images.csv")
    assert (a["nuclei"], a["height"], a["width"], a["modality"]) == (str(N), "128", "168", "fluorescence")
    assert Path(a["path"]).name == "a.png" and float(a["zoom"]) > 0.5 and float(a["seconds"]) > 0
    assert b["nuclei"] == "0" and "no nuclei" in b["warnings"]


def test_names_that_tables_take_for_something_else_are_quoted(tmp_path: Path) -> None:
    for name in ("001", "NA", "None", "1e5"):
        write(tmp_path / f"in/{name}.png", grey8(IMAGE))
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    for table in ("images.csv", "nuclei.csv"):
        text = (tmp_path / "out" / table).read_text()
        assert '\n"NA",' in text and '\n"001",' in text
    assert {r["image"] for r in rows(tmp_path / "out/nuclei.csv")} == {"001", "NA", "None", "1e5"}


@pytest.mark.parametrize("zoom", [0.5, 3])
def test_magnification_is_found_or_said(model: Segmenter, zoom: float) -> None:
    size = (round(168 * zoom), round(128 * zoom))
    image = cv2.resize(grey8(IMAGE), size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    assert nuclei.segment(image, model).max() == N
    diameter = float(np.sqrt(np.bincount(TRUTH.ravel())[1:].mean() * 4 / np.pi)) * zoom
    assert nuclei.segment(image, model, diameter=diameter).max() == N
    in_um = nuclei.segment(image, model, diameter=diameter / 2, pixel_size=0.5)
    assert np.array_equal(in_um, nuclei.segment(image, model, diameter=diameter))


# Files and folders


def test_same_names_in_two_folders_and_in_one(tmp_path: Path) -> None:
    for name in ("A01/f.tif", "A02/f.tif", "A02/f.png", "A02/a b.png", "A02/a_b.png", "A02/A_B.png"):
        write(tmp_path / "in" / name, grey8(IMAGE))
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    names = [r["image"] for r in rows(tmp_path / "out/images.csv")]
    assert {"A01/f", "A02/f_tif", "A02/f_png"} <= set(names) and len(set(names)) == 6
    assert all((tmp_path / f"out/labels/{name}.tif").is_file() for name in names)
    ids = Counter(r["ImageId"] for r in rows(tmp_path / "out/submission.csv"))
    assert ids == dict.fromkeys(names, N)


def test_pages_and_files_have_names_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "in/s.tif", np.stack([grey8(IMAGE)] * 2), photometric="minisblack")
    write(tmp_path / "in/s_page1.png", grey8(IMAGE))
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    assert len({r["image"] for r in rows(tmp_path / "out/images.csv")}) == 3


def test_odd_names(tmp_path: Path) -> None:
    names = [
        "é.png",
        "e\u0301.png",
        "细胞.png",
        "c,d.png",
        'q"q.png',
        "=1.png",
        "-x.png",
        "a\nb.png",
        "n" * 245 + ".png",
    ]
    for name in names:
        write(tmp_path / "in" / name, grey8(IMAGE))
    with open(os.path.join(os.fsencode(tmp_path), b"in", b"gr\xfcn.png"), "wb") as f:
        f.write(cv2.imencode(".png", grey8(IMAGE))[1].tobytes())
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    assert len({r["image"] for r in rows(tmp_path / "out/images.csv")}) == len(names) + 1


def test_what_other_systems_leave_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/a.tif", grey8(IMAGE))
    for name in ("._a.tif", ".DS_Store", "Thumbs.db", "__MACOSX/._a.tif", "__MACOSX/a.tif"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(JUNK)
    (tmp_path / "in/export.tif").mkdir()
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 0
    assert "skipped:" not in capsys.readouterr().err


def test_a_second_run_goes_on_inside_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.png", grey8(IMAGE))
    words = [f"input={tmp_path}", f"output={tmp_path}/predictions"]
    assert predict(*words) == 0
    tables = {f.name: f.read_text() for f in (tmp_path / "predictions").glob("*.csv")}
    labels = tmp_path / "predictions/labels/one.tif"
    before = labels.stat().st_mtime_ns
    capsys.readouterr()
    assert predict(*words) == 0 and "2 files done before" in capsys.readouterr().out
    assert labels.stat().st_mtime_ns == before
    assert tables == {f.name: f.read_text() for f in (tmp_path / "predictions").glob("*.csv")}
    write(tmp_path / "two.png", grey8(draw(3)[0]))
    write(tmp_path / "three.png", grey8(IMAGE))
    assert predict(*words) == 0 and "1 files done before" in capsys.readouterr().out
    assert predict(*words, "again=true") == 0 and "done before" not in capsys.readouterr().out
    assert labels.stat().st_mtime_ns > before
    assert predict(*words, "diameter=20") == 0 and "done before" not in capsys.readouterr().out
    assert predict(f"input={tmp_path}", f"output={tmp_path}/other") == 0
    assert "predictions is left out: it holds predictions" in capsys.readouterr().err
    assert {r["image"] for r in rows(tmp_path / "other/images.csv")} == {"one", "two", "three"}


def test_linked_folders_are_searched_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "far/real.png", grey8(IMAGE))
    write(tmp_path / "far/sub/deep.png", grey8(IMAGE))
    (tmp_path / "in").mkdir()
    for name, target in (("a.png", "far/real.png"), ("sub", "far/sub"), ("gone.png", "none"), ("loop", "in")):
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    assert predict(f"input={tmp_path}/in", f"output={tmp_path}/out") == 2
    assert "gone.png" in capsys.readouterr().err
    assert {r["image"] for r in rows(tmp_path / "out/images.csv")} == {"a", "sub/deep"}


@pytest.mark.parametrize("name", ["20240115", "2024_01_15", "1e3", "true", "x,y", "it's", "a=b"])
def test_folders_mean_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name / "a.png", np.zeros((20, 20), np.uint8))
    assert predict(f"input={name}", f"output={name}/out") == 0
    assert (tmp_path / name / "out/images.csv").is_file()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("input=", "no input"),
        ("output=", "no output"),
        ("tta=9", "tta=9: expected 1 to 8"),
        ("tta=0", "tta=0: expected 1 to 8"),
        ("workers=0", "workers=0: expected 1 or more"),
        ("output=a.png", "output=a.png is a file"),
        ("modality=flu", "modality=flu: expected one of fluorescence"),
        ("diameter=-3", "diameter=-3.0: expected"),
        ("pixel_size=0", "pixel_size=0.0: expected"),
        ("thresholds.low=2", "thresholds.low=2: expected 0 to 1"),
        ("save=[pdf]", "save: no kind 'pdf'"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", grey8(IMAGE))
    assert predict("input=a.png", word) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    assert predict("input=~/a.png", "output=~/out") == 0 and (tmp_path / "out/images.csv").is_file()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_large_image_and_a_second_run_goes_on(
    tmp_path: Path, repo: Path, number: int, status: int
) -> None:
    write(tmp_path / "in/a.png", grey8(IMAGE))
    write(tmp_path / "in/large.tif", np.tile(grey12(IMAGE), (40, 30)))
    words = [str(repo / "run.sh"), "predict", f"input={tmp_path}/in", f"output={tmp_path}/out"]
    env = os.environ | {"NUCLEI_PYTHON": sys.executable}
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    limit = time.monotonic() + 120
    while not (tmp_path / "out/labels/a.tif").exists() and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(2)
    os.killpg(process.pid, number)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=15)
    assert process.returncode == status and "stopped" in err and "terminate called" not in err
    assert [r["image"] for r in rows(tmp_path / "out/images.csv")] == ["a"]
    assert json.loads((tmp_path / "out/predict.json").read_text())["files"].keys() == {"a"}


# The competition's files


def competition(folder: Path, ending: str = "png") -> dict[str, bytes]:
    """Write two training images and a test image with their masks, and return all files by name."""
    files = {}
    for n in range(3):
        image, labels = draw(n)
        split, image_id = ("stage1_test", f"t{n}") if n == 2 else ("stage1_train", f"id{n}")
        files[f"{split}/{image_id}/images/{image_id}.{ending}"] = grey8(image)
        for k in range(1, labels.max() + 1) if n < 2 else ():
            files[f"{split}/{image_id}/masks/m{k}.{ending}"] = ((labels == k) * 255).astype(np.uint8)
    data = {name: cv2.imencode(".png", a)[1].tobytes() for name, a in files.items()}
    for name, content in data.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return data


def test_the_competitions_files_from_a_mac(tmp_path: Path) -> None:
    for name, data in competition(tmp_path / "folder").items():
        file = tmp_path / "folder" / name
        file.with_name(f"._{file.name}").write_bytes(JUNK)
        split, _, rest = name.partition("/")
        (tmp_path / "zips").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "zips" / f"{split}.zip", "a") as z:
            z.writestr(f"{split}/{rest}", data)
            z.writestr(f"__MACOSX/{split}/{Path(rest).parent}/._{Path(rest).name}", JUNK)
    for root in (tmp_path / "folder", tmp_path / "zips"):
        train, test = (Dsb2018(root).items(split) for split in ("train", "test"))
        assert [i.image_id for i in train] == ["id0", "id1"] and [i.image_id for i in test] == ["t2"]
        assert train[0].read_labels(TRUTH.shape, Counter()).max() == N
        assert [i.image_id for i in find_test_images(root)] == ["t2"]


def test_the_competitions_files_in_other_copies(tmp_path: Path) -> None:
    competition(tmp_path, "PNG")
    write(tmp_path / "stage1_train/id0/images/zz_overlay.png", np.full((9, 9, 3), 99, np.uint8))
    items = Dsb2018(tmp_path).items("train")
    assert len(items) == 2 and len(items[0].masks) == N
    assert items[0].read_image().shape == TRUTH.shape
