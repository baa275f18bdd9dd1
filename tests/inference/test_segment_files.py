"""Files are segmented several at a time, in order, and a bad one costs itself alone."""

import threading
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from nuclei.data import image_stacks
from nuclei.data.annotations import read_label_map
from nuclei.data.image_io import read_image
from nuclei.data.image_stacks import RegionImage
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.errors import UserError
from nuclei.inference import large_images
from nuclei.inference.segment_files import (
    ENDINGS,
    FileSettings,
    SegmentedImage,
    map_in_order,
    segment_files,
    write_labels,
    write_overlay,
    write_zarr,
)
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.otsu import Otsu
from nuclei.postprocess.components import Components


def test_each_file_has_its_labels_and_a_bad_one_its_error(tmp_path: Path) -> None:
    image = np.zeros((32, 40), np.uint8)
    image[4:12, 4:12] = image[16:28, 20:34] = 200
    cv2.imwrite(str(tmp_path / "good.png"), image)
    (tmp_path / "bad.png").write_bytes(b"no image")
    segmenter = Segmenter([WeightedNetwork(Otsu().eval(), ["nucleus"])], ["nucleus"], [Components(0.5, 0.5)])
    files = {"bad": tmp_path / "bad.png", "good": tmp_path / "good.png"}
    bad, good = segment_files(files, segmenter, tmp_path / "out", FileSettings(), workers=2)
    assert isinstance(bad, UserError) and "bad.png" in str(bad)
    assert isinstance(good, list) and good[0].name == "good" and good[0].count == 2
    assert good[0].table["area"].tolist() == [64, 168]
    written = cv2.imread(str(tmp_path / "out/labels/good.tif"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16 and np.bincount(written.ravel())[1:].tolist() == [64, 168]
    assert (tmp_path / "out/overlays/good.png").is_file()


def test_a_large_file_gives_the_same_whatever_its_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    image = draw_fluorescence(rng, draw_nuclei(rng, (500, 700), 120, 9.0, 0.5))[..., 0].astype(np.uint16) * 15
    monkeypatch.setattr(large_images, "LARGE", 100_000)
    monkeypatch.setattr(image_stacks, "SAMPLE", 50_000)
    layouts: dict[str, dict[str, Any]] = {
        "tiles": {"tile": (64, 64), "compression": "zlib"},
        "strips": {"rowsperstrip": 7, "compression": "lzw"},
        "one": {"rowsperstrip": 500, "compression": "zlib"},
        "raw": {},
    }
    files = {name: tmp_path / name / "a.tif" for name in layouts}
    for name, options in layouts.items():
        files[name].parent.mkdir()
        tifffile.imwrite(files[name], image, **options)
    network = WeightedNetwork(Otsu().eval(), ["nucleus"])
    segmenter = Segmenter([network], ["nucleus"], [Components(0.5, 0.5)])
    settings = FileSettings(tuple(ENDINGS), pixel_size=0.5)
    for name, file in files.items():
        ((found,),) = segment_files({"a": file}, segmenter, tmp_path / "out" / name, settings, 1)
        assert isinstance(found, SegmentedImage) and found.count > 50
    for kind, ending in ENDINGS.items():
        made = [(tmp_path / "out" / name / kind / f"a{ending}") for name in files]
        contents = {content(path) for path in made}
        assert len(contents) == 1, kind


def test_the_tiles_of_a_large_file_are_as_large_as_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_images, "LARGE", 100_000)
    seen: list[tuple[int, ...]] = []
    network = Otsu().eval()
    predict_maps = network.predict_maps
    monkeypatch.setattr(network, "predict_maps", lambda x: (seen.append(x.shape), predict_maps(x))[1])
    segmenter = Segmenter([WeightedNetwork(network, ["nucleus"])], ["nucleus"], [Components(0.5, 0.5)])
    image = np.zeros((1000, 1100), np.uint8)
    image[100:900:200, 100:900:200] = 200
    cv2.imwrite(str(tmp_path / "a.png"), image)
    for tile, widest in ((768, 768), (900, 900), (None, 1100)):
        seen.clear()
        next(segment_files({"a": tmp_path / "a.png"}, segmenter, tmp_path, FileSettings((), tile=tile), 1))
        assert widest - 32 < max(shape[3] for shape in seen) <= widest
    with pytest.raises(UserError, match="tile=100: expected at least 768"):
        FileSettings(tile=100)


def content(path: Path) -> bytes:
    """Return what is in a file, a folder, or a zip without the times at which its files were written."""
    if path.is_dir():
        return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as file:
        return b"".join(name.encode() + file.read(name) for name in file.namelist())


def test_results_come_in_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def work(n: int) -> int:
        if n == 0:
            assert second_is_done.wait(10)
        if n == 1:
            second_is_done.set()
        return n * n

    assert list(map_in_order(work, range(5), workers=2)) == [0, 1, 4, 9, 16]


LABELS = draw_nuclei(np.random.default_rng(0), (700, 1100), 200, 9.0, 0.4)


def by_region(image):
    return RegionImage(image.shape, image.dtype, lambda rows, columns: image[rows, columns])


@pytest.mark.parametrize(("more", "depth"), [(0, np.uint16), (70_000, np.uint32)])
def test_labels_by_region_are_written_in_tiles(tmp_path, more, depth):
    labels = np.where(LABELS > 0, LABELS + more, 0).astype(np.int32)
    write_labels(tmp_path / "a.tif", by_region(labels), 0.25)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].tile == (512, 512) and tif.pages[0].dtype == depth and not tif.is_bigtiff
        assert np.array_equal(tif.asarray(), labels)
    assert np.array_equal(read_label_map(tmp_path / "a.tif"), labels)
    assert read_image(tmp_path / "a.tif").pixel_size == pytest.approx(0.25)
    write_labels(tmp_path / "b.tif", by_region(labels), None)
    assert read_image(tmp_path / "b.tif").pixel_size is None


@pytest.mark.parametrize("labels", [LABELS.astype(np.int32), by_region(LABELS.astype(np.int32))])
def test_labels_are_written_as_ome_zarr(tmp_path, monkeypatch, labels):
    monkeypatch.setattr("nuclei.inference.segment_files.CHUNK", 256)
    monkeypatch.setattr("nuclei.inference.segment_files.SIDE", 300)
    path = tmp_path / "zarr" / "a.ome.zarr"
    for pixel_size in (None, 0.25):  # the second replaces the first
        write_zarr(path, labels, pixel_size)
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 2 and group.attrs["image-label"] == {"version": "0.4"}
    (multiscale,) = group.attrs["multiscales"]
    assert multiscale["axes"] == [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    shapes = {"0": (700, 1100), "1": (350, 550), "2": (175, 275)}
    assert [d["path"] for d in multiscale["datasets"]] == list(shapes)
    for n, (name, shape) in enumerate(shapes.items()):
        assert group[name].shape == shape and group[name].chunks == tuple(min(256, s) for s in shape)
        assert np.array_equal(group[name][:], LABELS[:: 2**n, :: 2**n])
        (transformation,) = multiscale["datasets"][n]["coordinateTransformations"]
        assert transformation == {"type": "scale", "scale": [0.25 * 2**n] * 2}
    assert (path / "0" / "1" / "0").is_file()  # chunks in folders, as NGFF wants it
    assert [p.name for p in path.parent.iterdir()] == ["a.ome.zarr"]
    image = read_image(path)
    assert np.array_equal(image.pixels, LABELS) and image.pixel_size == 0.25


def test_the_overlay_of_a_large_image_is_reduced(tmp_path, monkeypatch):
    image = np.random.default_rng(0).integers(50, 200, LABELS.shape, np.uint8)
    assert write_overlay(tmp_path / "whole.png", image, LABELS, dim=False) == []
    assert write_overlay(tmp_path / "regions.png", by_region(image), by_region(LABELS), dim=False) == []
    assert (tmp_path / "whole.png").read_bytes() == (tmp_path / "regions.png").read_bytes()
    monkeypatch.setattr("nuclei.inference.segment_files.PICTURE", 200_000)
    (note,) = write_overlay(tmp_path / "small.png", by_region(image), by_region(LABELS), dim=True)
    picture = cv2.imread(str(tmp_path / "small.png"))
    assert picture.shape == (350, 550, 3) and "1/2" in note
    assert (picture == (0, 220, 255)).all(axis=2).any()
