"""What the page answers; tests/browser looks at it in a browser."""

import base64
import json

import cv2
import gradio as gr
import numpy as np
import pytest

from nuclei.app.page import Page, Slider, figures
from nuclei.app.upload_session import Limits, Session
from nuclei.app.viewer import DOWNLOADS

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


def test_moving_a_slider_shows_other_nuclei(page, session, segmentation):
    own, table, _ = page.move(session, "a", *page.model_values())
    assert len(json.loads(own)["areas"]) == len(table) == len(segmentation.classes)
    fewer, _, _ = page.move(session, "a", 300, 0.5)
    assert len(json.loads(fewer)["areas"]) < len(table)


def test_a_download_is_named_after_the_image(page, session, segmentation):
    csv = next(d for d in DOWNLOADS if d.ending == "_nuclei.csv")
    sent = json.loads(page.save(csv, session, "a", *page.model_values()))
    assert sent["name"] == "a_nuclei.csv" and base64.b64decode(sent["data"]) == csv.write(segmentation)
    with pytest.raises(gr.Error, match="There is no image yet"):
        page.save(csv, Session(), None, *page.model_values())


def test_a_file_that_was_not_uploaded_is_neither_read_nor_deleted(page, tmp_path):
    example = tmp_path / "example.png"
    example.write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    session = Session()
    _, alert, _ = page.drop(session, [str(example)])
    assert example.exists() and not session.images and "example.png was not uploaded" in alert.value
    page.uploads.add(str(example))
    page.drop(session, [str(example)])
    assert list(session.images) == ["example"] and not example.exists() and not page.uploads


def test_a_file_that_is_gone_is_named(page, tmp_path):
    page.uploads.add(str(tmp_path / "x.png"))
    _, alert, _ = page.drop(Session(), [str(tmp_path / "x.png")])
    assert "x.png is gone" in alert.value


def test_unreadable_files_leave_the_open_images(page, tmp_path):
    session = Session({"before": None}, {})
    (tmp_path / "x.png").write_text("<b>no image</b>")
    page.uploads.add(str(tmp_path / "x.png"))
    _, alert, _ = page.drop(session, [str(tmp_path / "x.png")])
    assert list(session.images) == ["before"] and "x.png is no PNG" in alert.value and alert.visible


def test_the_histogram_counts_every_nucleus_once(segmentation, empty):
    table, plot = figures(segmentation)
    counts = [row[1] for row in plot.value["data"]]
    assert sum(counts) == len(table) and len(counts) <= 121
    assert figures(empty)[0].empty
