"""The nuclei of an open image, and their table."""

import json
import time

import numpy as np

from nuclei.app import viewer
from nuclei.app.upload_session import example_images, segment


def test_the_table_is_what_scikit_image_measures(segmentation):
    table, measured = segmentation.table(), segmentation.measurements()
    assert len(table) > 100 and segmentation.labels.max() == len(table)
    for quick, full in (("nucleus", "label"), ("class", "class"), ("area (px²)", "area")):
        assert table[quick].tolist() == measured[full].tolist()
    for quick, full in (("x", "x"), ("y", "y"), ("mean intensity", "mean_intensity")):
        assert np.allclose(table[quick], measured[full], atol=0.051)


def test_an_image_without_nuclei_has_an_empty_table(empty):
    assert empty.table().empty and empty.counts == {"left": 0, "right": 0}
    assert json.loads(viewer.overlay(empty))["areas"] == []


def test_other_settings_answer_at_once(session, segmentation, model):
    image, maps = session.images["a"], session.maps["a"]

    def seconds():
        start = time.process_time()
        nuclei = segment("a", image, maps, model, {"low": 0.4, "min_area": 300})
        viewer.overlay(nuclei), nuclei.table()
        return time.process_time() - start

    assert min(seconds() for _ in range(7)) < 0.1
    assert len(segment("a", image, maps, model, {"min_area": 300}).classes) < len(segmentation.classes)


def test_examples_are_always_the_same_images():
    first = {name: image.copy() for name, image in example_images().items()}
    example_images.cache_clear()
    assert all(np.array_equal(image, first[name]) for name, image in example_images().items())
    assert {name: image.ndim for name, image in first.items()} == {
        "fluorescence": 2,
        "histology": 3,
        "brightfield": 2,
    }
