"""Label maps and pictures of large images are those of small ones, written piece by piece."""

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from nuclei.data.annotations import read_label_map
from nuclei.data.image_io import read_image
from nuclei.data.image_stacks import RegionImage
from nuclei.data.synthetic import draw_nuclei
from nuclei.inference import result_files
from nuclei.inference.result_files import write_labels, write_overlay, write_zarr

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
    monkeypatch.setattr(result_files, "CHUNK", 256)
    monkeypatch.setattr(result_files, "SIDE", 300)
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
    monkeypatch.setattr(result_files, "PICTURE", 200_000)
    (note,) = write_overlay(tmp_path / "small.png", by_region(image), by_region(LABELS), dim=True)
    picture = cv2.imread(str(tmp_path / "small.png"))
    assert picture.shape == (350, 550, 3) and "1/2" in note
    assert (picture == (0, 220, 255)).all(axis=2).any()
