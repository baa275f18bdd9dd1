"""Strangers' files: told apart by content, measured before they are decoded, then removed; their nuclei."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from nuclei.app import viewer
from nuclei.app.session import Limits, declared, example_images, in_words, open_image, segment, take
from nuclei.data.image_stacks import SourceImage
from nuclei.data.preprocessing import ImageHints
from nuclei.errors import UserError

LIMITS = Limits(megabytes=1, megapixels=0.05, pages=5)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_declares(width, height, rows=b"\0\0"):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def written(path, data):
    path.write_bytes(data)
    return path


def encoded(kind, image=IMAGE):
    return cv2.imencode(kind, image)[1].tobytes()


@pytest.mark.parametrize("kind", [".png", ".jpg", ".tif"])
def test_what_is_in_a_file_counts_and_not_its_name(tmp_path, kind):
    file = written(tmp_path / "a b.xyz", encoded(kind))
    pictures, refused = take([file], LIMITS)
    assert not refused and not file.exists()
    shown = pictures["a_b"].source.shown
    assert shown.shape == IMAGE.shape
    if kind != ".jpg":
        assert np.array_equal(shown, IMAGE)


def test_pages_of_16_bits_and_files_of_one_name(tmp_path):
    (tmp_path / "b").mkdir()
    stack = IMAGE[None].astype(np.uint16) * np.array([1, 200], np.uint16)[:, None, None]
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack")
    files = [tmp_path / "x.tif", written(tmp_path / "b" / "x_page1.png", encoded(".png"))]
    pictures, refused = take(files, LIMITS)
    assert not refused and list(pictures) == ["x_page1", "x_page2", "x_page1_2"]
    first, second = list(pictures.values())[:2]
    assert first.source.pixels.dtype == np.uint16 and np.array_equal(second.source.pixels, stack[1])
    assert first.source.shown.max() == second.source.shown.max() == 255


def test_channels_stay_when_the_file_is_gone(tmp_path):
    planes = np.arange(2 * 3 * 40 * 50).reshape(2, 3, 40, 50).astype(np.float64)
    tifffile.imwrite(
        tmp_path / "z.ome.tif", planes, metadata={"axes": "ZCYX", "Channel": {"Name": ["a", "DAPI", "c"]}}
    )
    colour = np.stack([IMAGE, IMAGE // 2, IMAGE // 3], axis=2)
    pictures, refused = take(
        [tmp_path / "z.ome.tif", written(tmp_path / "c.png", encoded(".png", colour))],
        replace(LIMITS, pages=6),
    )
    assert not refused and not list(tmp_path.iterdir())
    stack, picture = pictures.values()
    assert stack.whole.channels == ("a", "DAPI", "c") and np.array_equal(stack.source.pixels, planes[1, 1])
    assert [np.array_equal(stack.whole.read_channel(n), planes[1, n]) for n in range(3)] == [True] * 3
    assert stack.source.pixels.dtype == np.float32
    assert np.array_equal(picture.whole.read_channel(2), IMAGE)


BAD = {
    "no PNG, JPEG or TIFF": b"<html>hello</html>",
    "no PNG, JPEG or TIFF, ": b"",
    "no PNG, JPEG or TIFF, w": b"GIF89a" + bytes(20),
    "is damaged": encoded(".png")[:300],
    "is damaged,": encoded(".tif")[:8],
    "is damaged, or": b"\xff\xd8\xff" + bytes(100),
    "megapixels": png_that_declares(60000, 60000),
    "megapixels in": png_that_declares(2**31 - 1, 2**31 - 1),
    "MB; 1 are": b"\x89PNG\r\n\x1a\n" + bytes(2**20),
}


@pytest.mark.parametrize("reason", BAD)
def test_what_cannot_be_taken_is_named_and_the_rest_is_taken(tmp_path, reason):
    bad, good = written(tmp_path / "bad.png", BAD[reason]), written(tmp_path / "good.png", encoded(".png"))
    pictures, refused = take([bad, good], LIMITS)
    assert list(pictures) == ["good"] and not bad.exists()
    assert len(refused) == 1 and refused[0].startswith("bad.png") and reason.strip(": ,w") in refused[0]
    assert str(tmp_path) not in refused[0]


def test_the_limits_are_on_all_pages_of_all_files(tmp_path):
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((6, 8, 8), np.uint8), photometric="minisblack")
    tifffile.imwrite(tmp_path / "large.tif", np.zeros((2, 160, 160), np.uint8), photometric="minisblack")
    files = [written(tmp_path / f"{n}.png", encoded(".png", np.zeros((150, 200), np.uint8))) for n in "ab"]
    pictures, refused = take([tmp_path / "many.tif", tmp_path / "large.tif", *files], LIMITS)
    assert list(pictures) == ["a"]
    assert all("limits." in line for line in refused)
    assert "more than 5 pages" in refused[0] and "megapixels" in refused[1] and "b.png has 0.0" in refused[2]


def test_a_bomb_is_refused_in_little_memory(tmp_path):
    zeros = zlib.compressobj(9)
    rows = b"".join(zeros.compress(bytes(20001)) for _ in range(20000)) + zeros.flush()
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    assert len(bomb) < 2**20  # of 400 megabytes
    script = (
        "import resource, sys; from pathlib import Path; from nuclei.app.session import Limits, take\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert 'megapixels' in take([Path(sys.argv[1])], Limits(1, 32, 5))[1][0]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    file = written(tmp_path / "bomb.png", bomb)
    grown = subprocess.check_output([sys.executable, "-c", script, str(file)], text=True)
    assert int(grown) < 20_000  # kB


def test_examples_are_always_the_same_images():
    first = {name: image.copy() for name, image in example_images().items()}
    example_images.cache_clear()
    assert all(np.array_equal(image, first[name]) for name, image in example_images().items())
    assert {name: image.ndim for name, image in first.items()} == {
        "fluorescence": 2,
        "histology": 3,
        "brightfield": 2,
    }


@pytest.mark.parametrize("planes", [4, 8])
def test_the_planes_behind_one_header_of_imagej_are_counted(tmp_path, planes):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((planes, 20, 30), np.uint8), imagej=True, truncate=True)
    if planes == 4:
        assert declared(tmp_path / "a.tif", True, 5) == 4 * 600
    else:
        with pytest.raises(UserError, match="more than 5 pages"):
            declared(tmp_path / "a.tif", True, 5)


def test_no_other_file_is_opened_that_an_upload_names(tmp_path, write_ome_set):
    secret, own = np.full((30, 40), 999, np.uint16), np.full((30, 40), 7, np.uint16)
    write_ome_set(tmp_path, {"DAPI": secret, "actin": own})
    pictures, refused = take([tmp_path / "a_C1.ome.tif"], LIMITS)
    (image,) = pictures.values()
    assert not refused and (image.whole.pixels == 7).all()


PLANES = np.stack([np.full((30, 40), 7, np.uint16), np.full((30, 40), 900, np.uint16)])
WHOLE = SourceImage(
    "",
    PLANES[0],
    PLANES[0].astype(np.uint8),
    ("a", "b"),
    PLANES.__getitem__,
    0.5,
    ("channel 1 of 2: a of a, b", "maximum of 3 slices"),
    ("the first is taken; channel= takes another",),
)


def test_the_table_is_what_scikit_image_measures(segmentation):
    table, measured = segmentation.table(), segmentation.measurements()
    assert len(table) > 100 and segmentation.labels.max() == len(table)
    for quick, full in (("nucleus", "label"), ("class", "class"), ("area (px²)", "area")):
        assert table[quick].tolist() == measured[full].tolist()
    for quick, full in (("x", "x"), ("y", "y"), ("mean intensity", "mean_intensity")):
        assert np.allclose(table[quick], measured[full], atol=0.051)


def test_an_image_without_nuclei_has_an_empty_table(empty):
    assert empty.table().empty and empty.counts == {"left": 0, "right": 0}
    shown = json.loads(viewer.overlay(empty))
    assert shown["areas"] == [] and "no nuclei were found: try another Modality" in shown["warnings"][0]


def test_other_settings_answer_at_once(session, segmentation, model):
    image, maps = session.maps["a"]

    def seconds():
        start = time.process_time()
        nuclei = segment("a", image, maps, model, {"low": 0.4, "min_area": 300})
        viewer.overlay(nuclei), nuclei.table()
        return time.process_time() - start

    assert min(seconds() for _ in range(7)) < 0.1
    assert len(segment("a", image, maps, model, {"min_area": 300}).classes) < len(segmentation.classes)


def test_a_chosen_channel_leaves_no_doubt_about_it(model):
    maps = np.zeros((5, 30, 40), np.uint8)
    maps[:3, 5:15, 5:15] = 255
    taken = segment("x", open_image(WHOLE), maps, model, {})
    assert taken.warnings == ["the first is taken; Channel takes another"]
    chosen = segment("x", open_image(WHOLE, 2), maps, model, {})
    assert not chosen.warnings and np.array_equal(chosen.image.source.pixels, PLANES[1])
    assert chosen.notes == ["fluorescence, as it looks", "channel 2 of 2: b", "maximum of 3 slices"]
    assert chosen.table()["mean intensity"].tolist() == [900]
    row = chosen.measurements().iloc[0]
    assert (row.mean_intensity, row.mean_intensity_a, row.mean_intensity_b) == (900, 7, 900)
    assert row.area_um2 == row.area / 4


def test_no_nuclei_is_said_with_what_may_help(model):
    image = open_image(WHOLE, 1, ImageHints("histology"))
    (line,) = segment("x", image, np.zeros((5, 30, 40), np.uint8), model, {}).warnings
    assert line.startswith(
        "no nuclei were found: try another Channel (a, b), another Modality than histology"
    )


def test_intensities_from_0_to_1_keep_their_digits(model):
    pixels = np.full((30, 40), 0.01234, np.float32)
    maps = np.zeros((5, 30, 40), np.uint8)
    maps[:3, 5:15, 5:15] = 255
    whole = SourceImage("", pixels, np.zeros((30, 40), np.uint8), ("grey",), [pixels].__getitem__)
    table = segment("x", open_image(whole), maps, model, {}).table()
    assert np.allclose(table["mean intensity"], 0.01234, rtol=1e-2)


def test_messages_name_the_pages_own_controls():
    assert in_words("diameter=3: invert= decides") == "Diameter 3: Polarity decides"
