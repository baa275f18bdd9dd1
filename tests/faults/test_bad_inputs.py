"""Bad files among good ones: ``predict``, ``prepare`` and the page take the good ones and name the others."""

from __future__ import annotations

import csv
import io
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nuclei.app.session import Limits, take
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.data.store import read_index

RUN = Path(__file__).parents[2] / "run.sh"
ENDS = (".png", ".jpg", ".tif", ".bmp", ".webp", ".gif", ".jp2", ".pgm")
PEAK_GB = 3.0
"""Most memory that the call may take, the network's included; a file that declares more gets none."""


def encoded(ending: str, image: np.ndarray) -> bytes:
    if ending == ".tif":
        out = io.BytesIO()
        tifffile.imwrite(out, image, compression="zlib", rowsperstrip=8)
        return out.getvalue()
    return cv2.imencode(ending, image)[1].tobytes()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a PNG whose header declares a size and whose checksums are right."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    """Return a TIFF whose tags declare a size, and eight bytes of pixels."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height)]
    tags += [(279, 8)]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4)).ljust(200, b"\0") + bytes(8)


def bad_files(image: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file that is no whole image."""
    for ending, places in ((".png", 20), (".tif", 20), (".jpg", 5), (".webp", 5)):
        data = encoded(ending, image)
        for n in range(places):
            size = 4 + (len(data) - 12) * n // places
            yield f"cut_{n:02}{ending}", data[:size]
    data = encoded(".png", image)
    for n in range(8):
        damaged = bytearray(data)
        damaged[40 + (len(data) - 60) * n // 8] ^= 0x10
        yield f"flipped_{n}.png", bytes(damaged)
    for ending in ENDS:
        yield f"empty{ending}", b""
        yield f"text{ending}", b"ImageId,EncodedPixels\nno image at all\n"
        yield f"zeros{ending}", bytes(5000)
        yield f"noise{ending}", np.random.default_rng(0).bytes(5000)
    yield "huge.png", png(65535, 65535)
    yield "longest.png", png(2**31 - 1, 2**31 - 1)
    yield "nothing.png", png(0, 0)
    yield "short.png", png(64, 64, bytes(100))
    yield "huge.tif", tiff(65535, 65535)
    yield "large.tif", tiff(30000, 30000)
    yield "nothing.tif", tiff(0, 0)
    yield "huge.bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 62, 0, 54, 40, 65535, 65535, 1, 24, *[0] * 6)
    yield "huge.pgm", b"P5 65535 65535 255\n" + bytes(10)
    yield f"{'n' * 245}.png", b"no image"


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    """A small image of fluorescence, ``uint8 (64, 64)``."""
    rng = np.random.default_rng(0)
    image = draw_fluorescence(rng, draw_nuclei(rng, (64, 64), 5, 8.0, touching=0.3))
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, grey: np.ndarray) -> Path:
    """A folder of good and bad files, and of what is to be passed over."""
    folder = tmp_path_factory.mktemp("bad") / "input"
    folder.mkdir()
    (folder / "good").mkdir()
    for ending in (".png", ".tif", ".jpg", ".webp"):
        (folder / "good" / f"of{ending[1:]}{ending}").write_bytes(encoded(ending, grey))
    (folder / f"{'g' * 245}.png").write_bytes(encoded(".png", grey))
    (folder / "a folder.png").mkdir()
    (folder / "a folder.png" / "inside.png").write_bytes(encoded(".png", grey))
    (folder / "._good.png").write_bytes(b"\0\5\x16\7" + bytes(80))
    (folder / "Thumbs.db").write_bytes(bytes(80))
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    for name, data in bad_files(grey):
        (folder / name).write_bytes(data)
    return folder


def test_all_good_files_are_written_and_each_bad_one_is_named(folder):
    words = [str(RUN), "predict", f"input={folder}", f"output={folder.parent / 'out'}", "workers=2"]
    env = os.environ | {"NUCLEI_PYTHON": sys.executable}
    code = "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
    code += "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, timeout=300
    )
    bad = [path.name for path in folder.iterdir() if path.is_file() or path.is_symlink() or path.is_fifo()]
    bad = [name for name in bad if name not in ("._good.png", "Thumbs.db", "loop", f"{'g' * 245}.png")]
    assert len(bad) >= 60
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-3000:]
    # Not at the start of a line, as libpng writes its own lines in between.
    skipped = re.findall(r"skipped: (.*)", done.stderr)
    assert {name for name in bad if not any(f"/{name}" in line for line in skipped)} == set()
    assert len(skipped) == len(bad)
    with open(folder.parent / "out/images.csv", newline="") as f:
        written = {Path(row["path"]).name for row in csv.DictReader(f)}
    assert written == {"ofpng.png", "oftif.tif", "ofjpg.jpg", "ofwebp.webp", "inside.png", f"{'g' * 245}.png"}
    assert len(list((folder.parent / "out/labels").rglob("*.tif"))) == len(written)
    assert not list((folder.parent / "out").rglob("*.part"))
    assert int(done.stdout.split()[-1]) / 1e6 < PEAK_GB


def test_prepare_leaves_out_each_image_that_has_a_bad_file_and_writes_the_others(grey, tmp_path):
    """Each bad file once as an image, and once as one of the masks of a good image."""
    mask = np.uint8(255) * (grey > 128)
    good, bad = ["good_1", "good_2"], []
    for name, data in bad_files(grey):
        bad += [f"image_{name[:80]}", f"mask_{name[:80]}"]
        write_training_image(tmp_path / bad[-2], data, encoded(".png", mask))
        write_training_image(tmp_path / bad[-1], encoded(".png", grey), data)
    for name in good:
        write_training_image(tmp_path / name, encoded(".png", grey), encoded(".png", mask))
    train, test = tmp_path / "root/stage1_train", tmp_path / "root/stage1_test/test/images"
    test.mkdir(parents=True)
    (test / "test.png").write_bytes(encoded(".png", grey))
    train.mkdir()
    for name in [*good, *bad]:
        (tmp_path / name).rename(train / name)
    store = tmp_path / "x.store"
    words = [str(RUN), "prepare", f"data.root={tmp_path / 'root'}", f"data.store={store}", "workers=1"]
    env = os.environ | {"NUCLEI_PYTHON": sys.executable}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-3000:]
    named = re.findall(r"left out: train image (\S+): ", done.stderr)
    assert sorted(named) == sorted(bad) and len(bad) >= 120
    assert done.stderr.splitlines()[-1].startswith(f"error: {len(bad)} images were left out")
    assert [row.image_id for row in read_index(store)] == [*good, "test"]


def test_the_page_takes_the_good_files_of_an_upload_and_names_each_bad_one(grey, tmp_path):
    data = {name: content for name, content in bad_files(grey) if len(name) < 200}
    data |= {f"good{ending}": encoded(ending, grey) for ending in (".png", ".tif", ".jpg")}
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    images, refused = take(map(tmp_path.joinpath, data), Limits(megabytes=50, megapixels=150, pages=20))
    assert sorted(images) == ["good", "good_2", "good_3"] and len(refused) == len(data) - 3 >= 60
    assert [name for name in data if not any(name in reason for reason in refused)] == [
        name for name in data if name.startswith("good")
    ]
    assert not list(tmp_path.iterdir())


def write_training_image(folder: Path, image: bytes, mask: bytes) -> None:
    """Write a folder as in ``stage1_train``, of an image with one mask."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "images" / f"{folder.name}.png").write_bytes(image)
    (folder / "masks" / "1.png").write_bytes(mask)
