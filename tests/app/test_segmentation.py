"""The choice of channel and hints, the table of nuclei, and what may be wrong with an image."""

from __future__ import annotations

import json
import time

import numpy as np

from nuclei.app import viewer
from nuclei.app.segmentation import in_words, open_image, segment
from nuclei.data.image_stacks import SourceImage
from nuclei.data.preprocessing import ImageHints

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
