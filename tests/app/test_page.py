"""What the page answers; tests/browser looks at it in a browser."""

import base64
import io
import json

import cv2
import gradio as gr
import numpy as np
import pandas as pd
import pytest

from nuclei.app.page import Page, Slider, figures
from nuclei.app.session import Limits, Session, open_image
from nuclei.app.viewer import DOWNLOADS, TABLES
from nuclei.build import named_steps
from nuclei.config import compose_config
from nuclei.data.image_stacks import SourceImage
from nuclei.data.preprocessing import ImageHints
from nuclei.data.sources.demo import draw_nuclei
from nuclei.postprocess.second_stage import Selection

SLIDERS = {
    "min_area": Slider("Least area (px²)", 1, 1000, 1),
    "radius": Slider("A parameter of no step", 0, 1, 0.1),
    "low": Slider("Outline threshold", 0.05, 0.95, 0.01),
}


@pytest.fixture(scope="module")
def page(model):
    """A page with sliders for two of the model's parameters."""
    return Page(model, Limits(1, 1, 5), SLIDERS)


def test_a_slider_without_a_parameter_is_left_out(page):
    assert page.model_values() == [20, 0.5]
    assert list(page.sliders) == ["min_area", "low"]
    shown = [block for block in page.build().blocks.values() if isinstance(block, gr.Slider)]
    assert [slider.label for slider in shown] == ["Least area (px²)", "Outline threshold"]


def test_each_slider_of_the_settings_is_of_a_parameter():
    steps = [
        step for name in ("watershed", "distance", "offsets", "components") for step in named_steps(name)
    ]
    known = {name for step in [*steps, Selection()] for name in vars(step)}
    assert set(compose_config("app").sliders) <= known


def test_moving_a_slider_shows_other_nuclei(page, session, segmentation):
    own, table, _ = page.move(session, "a", *page.model_values())
    assert len(json.loads(own)["areas"]) == len(table) == len(segmentation.classes)
    fewer, *_ = page.move(session, "a", 300, 0.5)
    assert len(json.loads(fewer)["areas"]) < len(table)


def test_a_download_is_named_after_the_image(page, session, segmentation):
    csv = next(d for d in DOWNLOADS if d.ending == "_nuclei.csv")
    sent = json.loads(page.save(csv, session, "a", *page.model_values()))
    assert sent["name"] == "a_nuclei.csv" and base64.b64decode(sent["data"]) == csv.write(segmentation)
    with pytest.raises(gr.Error, match="There is no image yet"):
        page.save(csv, Session(), None, *page.model_values())


def two_channels():
    """A visitor with an image of two channels, and a plain one."""
    nuclei = draw_nuclei(np.random.default_rng(0), (90, 120), 9, 12, touching=0.0) > 0
    planes = [np.zeros((90, 120), np.uint8), np.where(nuclei, 180, 20).astype(np.uint8)]
    two = SourceImage("", planes[0], planes[0], ("a", "b"), planes.__getitem__)
    one = SourceImage("", planes[1], planes[1], ("grey",), planes[1:].__getitem__)
    return Session({"two": open_image(two), "one": open_image(one)})


@pytest.fixture(scope="module")
def lit(bright):
    """A page whose network takes bright pixels for nuclei."""
    return Page(bright, Limits(1, 1, 5), SLIDERS)


def quiet(*_, **__):
    """Report no progress."""


def test_a_choice_of_channel_and_modality_runs_the_network_once(lit):
    page, session, values = lit, two_channels(), lit.model_values()
    channel, modality, polarity, diameter = page.describe(session, "two")
    assert [n for _, n in channel.choices] == [0, 1, 2] and channel.visible
    assert modality.choices[0][0] == "as it looks: fluorescence" and (polarity, diameter) == ("auto", None)
    view, table, _ = page.show(session, "two", quiet, *values)
    assert table.empty and "another Channel (a, b)" in view.value
    page.choose(session, "two", 2, "auto", "auto", None)
    _, table, _ = page.show(session, "two", quiet, *values)
    maps = session.maps["two"][1]
    page.choose(session, "two", 2, "auto", "auto", None)
    page.show(session, "two", quiet, *values)
    assert len(table) > 5 and session.maps["two"][1] is maps
    page.choose(session, "two", 2, "brightfield", "auto", None)
    assert not session.has_maps("two")
    assert page.move(session, "two", *values)[0] == gr.skip()
    _, dark, _ = page.show(session, "two", quiet, *values)
    assert dark["area (px²)"].sum() > 2 * table["area (px²)"].sum(), "the ground is taken for nuclei"
    page.choose(session, "two", 2, "brightfield", "bright", 9)
    assert session.images["two"].hints == ImageHints("brightfield", False, 9)
    assert page.describe(session, "two")[2:] == ("bright", 9)
    with pytest.raises(gr.Error, match=r"Diameter 9.*own size alone"):
        page.show(session, "two", quiet, *values)
    assert not page.describe(session, "one")[0].visible
    page.choose(session, "two", None, None, None, None)
    assert session.images["two"].channel == 0
    for channel, size in ((3, None), (-1, None), (1, -4)):
        with pytest.raises(gr.Error):
            page.choose(session, "two", channel, "auto", "auto", size)


def test_all_images_stand_in_one_table(lit):
    page, session = lit, two_channels()
    nuclei, images = (
        pd.read_csv(io.BytesIO(base64.b64decode(json.loads(sent)["data"])))
        for sent in (page.save_all(t, session, gr.Progress(), *page.model_values()) for t in TABLES)
    )
    assert set(nuclei.image) == {"one"} and images.image.tolist() == ["two", "one"]
    assert images.nuclei.tolist() == [0, len(nuclei)] and "no nuclei were found" in images.warnings[0]
    with pytest.raises(gr.Error, match="There is no image yet"):
        page.save_all(TABLES[0], Session(), gr.Progress(), *page.model_values())


def test_a_file_that_was_not_uploaded_is_neither_read_nor_deleted(page, tmp_path):
    example = tmp_path / "example.png"
    example.write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    session = Session()
    _, alert, *_ = page.drop(session, [str(example)])
    assert example.exists() and not session.images and "example.png was not uploaded" in alert.value
    page.uploads.add(str(example))
    page.drop(session, [str(example)])
    assert list(session.images) == ["example"] and not example.exists() and not page.uploads


def test_a_file_that_is_gone_is_named(page, tmp_path):
    page.uploads.add(str(tmp_path / "x.png"))
    _, alert, *_ = page.drop(Session(), [str(tmp_path / "x.png")])
    assert "x.png is gone" in alert.value


def test_unreadable_files_leave_the_open_images(page, tmp_path):
    session = Session({"before": None}, {})
    (tmp_path / "x.png").write_text("<b>no image</b>")
    page.uploads.add(str(tmp_path / "x.png"))
    _, alert, *_ = page.drop(session, [str(tmp_path / "x.png")])
    assert list(session.images) == ["before"] and "x.png is no PNG" in alert.value and alert.visible


def test_the_histogram_counts_every_nucleus_once(segmentation, empty):
    table, plot = figures(segmentation)
    counts = [row[1] for row in plot.value["data"]]
    assert sum(counts) == len(table) and len(counts) <= 121
    assert figures(empty)[0].empty
