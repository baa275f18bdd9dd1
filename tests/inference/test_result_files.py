"""Label maps and pictures of large images are those of small ones, written piece by piece."""

import cv2
import numpy as np
import pytest
import tifffile

from nuclei.data.annotations import read_label_map
from nuclei.data.image_io import read_image
from nuclei.data.image_regions import RegionImage
from nuclei.data.synthetic import draw_nuclei
from nuclei.inference import result_files
from nuclei.inference.result_files import write_labels, write_overlay

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
