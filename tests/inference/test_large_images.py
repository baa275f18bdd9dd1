"""Large images in blocks: the nuclei of one piece, wherever blocks begin."""

import gc
import os
import weakref
import zipfile

import numpy as np
import pytest
from torch import nn

from nuclei.api import load_model
from nuclei.data.image_stacks import RegionImage
from nuclei.data.preprocessing import ImageHints
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.errors import UserError
from nuclei.inference import large_images
from nuclei.inference.large_images import (
    Scratch,
    Segmentation,
    join_blocks,
    segment,
    segment_blocks,
)
from nuclei.inference.measure import (
    LabelPart,
    class_names,
    classes_of,
    measure,
    measure_parts,
    polygons,
    write_rois,
)
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.labelmap.objects import best_ious, pair_runs
from nuclei.models.base import SegmentationNetwork
from nuclei.postprocess.components import Components
from nuclei.submission.rle import to_lines


class Blur(SegmentationNetwork):
    """Nuclei are where a blurred image is bright; a network that sees 9 pixels."""

    def __init__(self):
        super().__init__(4, "nuclei")
        self.body = nn.Conv2d(1, 1, 9, padding=4, padding_mode="replicate")
        nn.init.constant_(self.body.weight, 20 / 81)
        nn.init.constant_(self.body.bias, -8.0)

    def forward(self, x):
        return self.body(x)


@pytest.fixture(scope="module")
def drawn():
    """An image of 896 x 704 pixels with 300 nuclei, some of which touch."""
    rng = np.random.default_rng(0)
    return draw_fluorescence(rng, draw_nuclei(rng, (896, 704), 300, 9.0, 0.5))[..., 0]


def ious(a, b):
    """The IoU of each nucleus of a with the best of b."""
    return best_ious(*pair_runs(a.ravel(), b.ravel()))[0][1:]


@pytest.mark.parametrize(("tile", "block"), [(400, 256), (530, 300), (640, 200)])
def test_blocks_of_any_size_give_the_nuclei_of_one_piece(drawn, tile, block):
    segmenter = Segmenter([WeightedNetwork(Blur(), ["nucleus"])], ["nucleus"], [Components(0.4, 0.5)])
    whole = segment(segmenter, drawn)
    parts = segment_blocks(segmenter, drawn, tile=tile, block=block)
    assert np.array_equal(np.asarray(parts.maps), whole.maps)
    assert parts.labels.dtype == np.int32 and parts.count == whole.count == whole.labels.max() > 100
    assert (ious(whole.labels, np.asarray(parts.labels)) == 1).all()


def test_the_model_in_the_box_finds_the_same_nuclei_with_tiles_of_any_size(drawn):
    hints, model = ImageHints(diameter=17.5), load_model()  # zoomed by 1.5
    a = segment_blocks(model, drawn, hints)
    b = segment_blocks(model, drawn, hints, tile=1152, block=400)
    assert a.zoom == b.zoom == 1.5 and a.count > 150
    away = (slice(0, -128), slice(0, -128))  # from the frame, where the last tile is filled up by mirroring
    matched = ious(np.asarray(a.labels)[away], np.asarray(b.labels)[away])
    matched = matched[np.unique(np.asarray(a.labels)[away])[1:] - 1]
    assert matched.min() > 0.95 and np.mean(matched == 1) > 0.97


def test_large_images_are_segmented_in_blocks(drawn, monkeypatch):
    segmenter = Segmenter([WeightedNetwork(Blur(), ["nucleus"])], ["nucleus"], [Components(0.4, 0.5)])
    whole = segment(segmenter, drawn)
    assert not isinstance(whole.labels, RegionImage)
    monkeypatch.setattr(large_images, "LARGE", 500_000)
    parts = segment(segmenter, np.dstack([drawn] * 3))
    assert isinstance(parts.labels, RegionImage)
    assert np.mean(ious(whole.labels, np.asarray(parts.labels)) > 0.8) > 0.95  # contrast is that of a sample


def test_a_network_that_sees_whole_images_at_one_size_is_not_given_blocks(monkeypatch):
    network = Blur()
    network.size = 64
    monkeypatch.setattr(large_images, "LARGE", 10)
    segmenter = Segmenter([WeightedNetwork(network, ["nucleus"])], ["nucleus"], [Components(0.4, 0.5)])
    assert not isinstance(segment(segmenter, np.zeros((50, 50), np.uint8)).labels, RegionImage)


def test_a_nucleus_on_a_seam_is_taken_once():
    truth = np.zeros((8, 12), np.int32)
    truth[1:4, 4:8] = 1  # across the seam between columns 5 and 6
    truth[5:7, 6:9] = 2
    labels = np.zeros_like(truth)
    join_blocks(lambda maps: number(maps[0]), truth[None], labels, block=6, margin=6)
    assert np.array_equal(labels > 0, truth > 0) and labels.max() == 2
    assert len(np.unique(labels[1:4, 4:8])) == 1


def test_what_is_measured_and_written_by_part_is_that_of_the_whole(drawn, tmp_path):
    rng = np.random.default_rng(0)
    truth, image = draw_nuclei(rng, drawn.shape, 300, 9.0, 0.5), np.dstack([drawn, drawn // 2, drawn])
    labels = Scratch(truth.shape, np.int32)
    parts = join_blocks(lambda maps: number(maps[0]), [truth], labels, block=200, margin=60)
    maps = [rng.integers(0, 255, truth.shape, np.uint8) for _ in range(2)]
    found, whole = Segmentation(maps, labels, 1.0, parts), [LabelPart(np.asarray(labels))]
    assert len(parts) == 20 and found.count == truth.max() > 200
    assert all(p.labels.max(initial=0) in (0, len(np.unique(p.labels)) - 1) for p in found.by_part())
    table = measure_parts(found.by_part(), image, {"red": drawn}, 0.5)
    expected = measure(np.asarray(labels), image, {"red": drawn}, 0.5)
    assert table.keys() == expected.keys() and all(np.allclose(table[k], expected[k]) for k in table)
    channels = ["class_a", "class_b"]
    classes = classes_of(found.by_part(), maps, channels)
    assert np.array_equal(classes, classes_of(whole, maps, channels)) and set(classes) == {"a", "b"}
    table["class"] = classes
    names = class_names(channels)
    assert [*polygons(found.by_part(), names, table)] == [*polygons(whole, names, table)]
    write_rois(tmp_path / "a.zip", found.by_part())
    write_rois(tmp_path / "b.zip", whole)
    with zipfile.ZipFile(tmp_path / "a.zip") as a, zipfile.ZipFile(tmp_path / "b.zip") as b:
        assert a.namelist() == b.namelist() and all(a.read(n) == b.read(n) for n in a.namelist())
    runs = (to_lines("a", p.labels, p.corner, drawn.shape[0]) for p in found.by_part() if p.labels.any())
    assert b"".join(runs) == to_lines("a", np.asarray(labels))


def test_regions_of_a_temporary_file_are_written_and_read():
    scratch, array = Scratch((70, 90), np.int32), np.zeros((70, 90), np.int32)
    for region in (np.s_[3:20, 5:60], np.s_[10:70, 50:90]):
        scratch[region] = array[region] = np.arange(array[region].size).reshape(array[region].shape)
    assert np.array_equal(np.asarray(scratch), array) and np.array_equal(
        scratch[5:50:3, 7:], array[5:50:3, 7:]
    )


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space is reserved on Linux alone")
def test_a_disk_without_room_for_the_labels_is_named_in_one_line():
    with pytest.raises(UserError, match=r"no 400000.0 GB for maps and labels in .* set TMPDIR"):
        Scratch((10**7, 10**7), np.int32)


def number(part):
    """Label the values of an array without gaps."""
    return np.unique(part, return_inverse=True)[1].reshape(part.shape).astype(np.int32)


def test_a_temporary_file_goes_with_its_image():
    gc.disable()  # it must not wait for the collection of rings
    try:
        image = large_images.Scratch((8, 9), np.uint8)
        image[2:4, 2:4] = np.full((2, 2), 7, np.uint8)
        file = weakref.ref(image._file)
        assert image[3:4, 3:4] == 7
        del image
        assert file() is None
    finally:
        gc.enable()
