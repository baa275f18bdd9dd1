"""Lay out the page, and answer when a visitor drops, moves or clicks something."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from nuclei.app import viewer
from nuclei.app.upload_session import COLUMNS, Limits, Segmentation, Session, example_images, take
from nuclei.app.viewer import DOWNLOADS, Download
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import fields
from nuclei.progress import report_progress

HERE = Path(__file__).parent
STYLE = (HERE / "page.css").read_text()
SAVE = (HERE / "save.js").read_text()
# No font or script comes from elsewhere.
THEME = gr.themes.Base(
    primary_hue="teal",
    font=("system-ui", "-apple-system", "Segoe UI", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
)
Settings = dict[str, Any]
PROGRESS = gr.Progress()  # gradio replaces this by one for each visit


@dataclass(frozen=True)
class Slider:
    """A slider for one parameter of the post-processing."""

    label: str
    minimum: float
    maximum: float
    step: float


class Page:
    """The page of one model.

    Sliders by the name of their parameter, but those whose parameter no step of the post-processing has.
    """

    def __init__(self, model: Segmenter, limits: Limits, sliders: Mapping[str, Slider]) -> None:
        self.model, self.limits = model, limits
        self.values = {k: getattr(step, k) for step in model.steps for k in fields(step) if k in sliders}
        self.sliders = {name: sliders[name] for name in sliders if name in self.values}
        self.uploads: set[str] = set()

    def build(self) -> gr.Blocks:
        """Lay out the page and connect its parts."""
        # Gradio deletes files of a visit that are older than ten minutes.
        with gr.Blocks(title="Nuclei", analytics_enabled=False, delete_cache=(60, 600)) as blocks:
            self.uploads = blocks.upload_file_set
            session = gr.State(Session(), time_to_live=3600)
            gr.Markdown("# Nuclei\nFind every nucleus in a microscopy image. Nothing leaves this machine.")
            with gr.Row():
                drop = gr.File(
                    label=f"PNG, JPEG or TIFF, up to {self.limits.megabytes:g} MB",
                    file_count="multiple",
                    type="filepath",
                    height=170,
                    min_width=300,
                    elem_id="drop",
                )
                pictures = [(image, name) for name, image in example_images().items()]
                still: Settings = {"allow_preview": False, "interactive": False, "buttons": []}
                still |= {"object_fit": "cover", "columns": 3, "height": 170, "min_width": 300}
                gallery = gr.Gallery(pictures, label="Examples", elem_id="examples", **still)
            refused = gr.HTML(visible=False, elem_classes="refused")
            chooser = gr.Dropdown(label="Image", visible=False, elem_id="chooser")
            parts: Settings = {"html_template": viewer.TEMPLATE, "css_template": viewer.STYLE}
            parts |= {"js_on_load": viewer.SCRIPT, "apply_default_css": False}
            view = gr.HTML(viewer.as_json(None), picture="", elem_id="viewer", **parts)
            with gr.Accordion("Post-processing", elem_id="sliders"):
                with gr.Row():
                    sliders = [self.slider(name, slider) for name, slider in self.sliders.items()]
                reset = gr.Button("Back to the model's own values", size="sm")
            with gr.Row():
                left: Settings = {"label": "Nuclei", "elem_id": "table", "scale": 3, "min_width": 300}
                table = gr.Dataframe(headers=COLUMNS, interactive=False, max_height=320, **left)
                right: Settings = {"label": "Areas", "elem_id": "histogram", "scale": 2, "min_width": 300}
                histogram = gr.BarPlot(x="area (px²)", y="nuclei", height=320, **right)
            with gr.Row(elem_id="downloads"):
                buttons = [gr.Button(d.button, size="sm", min_width=200) for d in DOWNLOADS]
            saved = gr.HTML(html_template="", js_on_load=SAVE, visible="hidden")

            inputs = [session, chooser, *sliders]
            outputs = [view, table, histogram]
            on = partial(gr.on, api_visibility="private")
            show = {"fn": self.show, "inputs": inputs, "outputs": outputs, "show_progress_on": [view]}
            show |= {"api_visibility": "private", "concurrency_id": "network"}
            opened = {"outputs": [drop, refused, chooser], "show_progress_on": [view]}
            on(drop.upload, self.drop, [session, drop], **opened).success(**show)
            on(gallery.select, self.pick, [session], **opened).success(**show)
            gr.on(chooser.input, **show)
            quick = {"trigger_mode": "always_last", "show_progress": "hidden", "concurrency_limit": 4}
            on([s.change for s in sliders], self.move, inputs, outputs, **quick)
            on(reset.click, self.model_values, None, sliders, show_progress="hidden")
            for download, button in zip(DOWNLOADS, buttons, strict=True):
                on(button.click, partial(self.save, download), inputs, saved, show_progress_on=[button])
        return blocks

    def slider(self, name: str, slider: Slider) -> gr.Slider:
        """Return the slider of a parameter, at the model's own value."""
        shown: Settings = {"label": slider.label, "elem_id": f"slider-{name}", "min_width": 270}
        return gr.Slider(slider.minimum, slider.maximum, self.values[name], step=slider.step, **shown)

    def model_values(self) -> list[float]:
        """Return the model's own values, in the order of the sliders."""
        return [self.values[name] for name in self.sliders]

    def drop(self, session: Session, files: Sequence[str] | None) -> tuple[None, Any, Any]:
        """Open the dropped files in place of the images before, or keep these where no file can be read.

        A visitor can name any file in the server's folder, such as an example; none but uploads are touched.
        """
        uploads = [file for file in files or () if file in self.uploads]
        self.uploads.difference_update(uploads)
        images, refused = take(map(Path, uploads), self.limits)
        refused += [
            f"{Path(f).name} was not uploaded; drop it again" for f in files or () if f not in uploads
        ]
        if images:
            session.images, session.maps = images, {}
        alerts = "".join(f"<p role='alert'>{html.escape(line)}</p>" for line in refused)
        return None, gr.HTML(alerts, visible=bool(alerts)), choice(session) if images else gr.skip()

    def pick(self, session: Session, event: gr.SelectData) -> tuple[None, Any, Any]:
        """Open an example."""
        name, image = list(example_images().items())[event.index]
        session.images, session.maps = {name: image}, {}
        return None, gr.HTML(visible=False), choice(session)

    def show(
        self, session: Session, name: str | None, progress: gr.Progress = PROGRESS, *values: float
    ) -> tuple[Any, ...]:
        """Show an image and its nuclei; the network runs where the image's maps are not there yet."""
        if name not in session.images:
            return gr.skip(), gr.skip(), gr.skip()

        def report(done: int, total: int | None, unit: str) -> None:
            # After the last tile comes post-processing, or the next zoom.
            progress((done, total) if done != total else None, desc=f"segmenting {name}", unit=unit)

        report(0, 0, "images")
        with report_progress(report):
            nuclei = self.segment(session, name, values)
        picture = viewer.picture(session.images[name])
        return gr.HTML(viewer.overlay(nuclei), picture=picture), *figures(nuclei)

    def move(self, session: Session, name: str | None, *values: float) -> tuple[Any, ...]:
        """Show the nuclei at other settings; no network runs."""
        if name not in session.maps:
            return gr.skip(), gr.skip(), gr.skip()
        nuclei = self.segment(session, name, values)
        return viewer.overlay(nuclei), *figures(nuclei)

    def save(self, download: Download, session: Session, name: str | None, *values: float) -> str:
        """Return a file's name and content for the browser to save; no file is written here."""
        if name not in session.maps:
            raise gr.Error("There is no image yet: drop one, or pick an example.", print_exception=False)
        data = base64.b64encode(download.write(self.segment(session, name, values))).decode()
        return viewer.as_json({"name": name + download.ending, "data": data, "at": time.time()})

    def segment(self, session: Session, name: str, values: Sequence[float]) -> Segmentation:
        """Return the nuclei at the settings of the sliders."""
        return session.segment(name, self.model, dict(zip(self.sliders, values, strict=True)))


def choice(session: Session) -> Any:
    """Return the list of images with the first one chosen; hidden where there is only one."""
    names = list(session.images)
    return gr.Dropdown(names, value=names[0], visible=len(names) > 1)


def figures(nuclei: Segmentation) -> tuple[pd.DataFrame, Any]:
    """Return the table of nuclei and the histogram of their areas."""
    table = nuclei.table()
    areas = table["area (px²)"]
    width = 5 * (1 + int(areas.max() if len(areas) else 0) // 120)  # at most 24 bars
    heights = np.bincount(areas // width)
    bars = pd.DataFrame({"area (px²)": width * np.arange(len(heights)), "nuclei": heights})
    return table, gr.BarPlot(bars, x_bin=width)
