"""The page: what stands where, and what happens when something is dropped, moved or clicked."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from nuclei.app import viewer
from nuclei.app.downloads import KINDS
from nuclei.app.examples import examples
from nuclei.app.upload import Limits, take
from nuclei.app.upload_session import COLUMNS, Found, Session
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
PROGRESS = gr.Progress()  # gradio puts one of the visit's own in its place


class Page:
    """The page of one model.

    Args:
        model: what segments.
        limits: on what is uploaded.
        sliders: label, minimum, maximum and step of the parameters that may be moved, by name; those that no
            step of the model's post-processing has are left out.
    """

    def __init__(self, model: Segmenter, limits: Limits, sliders: Mapping[str, Mapping[str, Any]]) -> None:
        self.model, self.limits = model, limits
        self.values = {k: getattr(step, k) for step in model.steps for k in fields(step) if k in sliders}
        self.sliders = {name: sliders[name] for name in sliders if name in self.values}

    def build(self) -> gr.Blocks:
        """Lay the page out and connect it."""
        # What gradio keeps of a visit goes when it is older than ten minutes.
        with gr.Blocks(title="Nuclei", analytics_enabled=False, delete_cache=(60, 600)) as blocks:
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
                gallery = gr.Gallery(
                    [(image, name) for name, image in examples().items()],
                    label="Examples",
                    columns=3,
                    height=170,
                    allow_preview=False,
                    object_fit="cover",
                    interactive=False,
                    buttons=[],
                    min_width=300,
                    elem_id="examples",
                )
            refused = gr.HTML(visible=False, elem_classes="refused")
            chooser = gr.Dropdown(label="Image", visible=False, elem_id="chooser")
            view = gr.HTML(
                viewer.as_value(None),
                html_template=viewer.TEMPLATE,
                css_template=viewer.STYLE,
                js_on_load=viewer.SCRIPT,
                picture="",
                apply_default_css=False,
                elem_id="viewer",
            )
            with gr.Accordion("Post-processing", elem_id="sliders"):
                with gr.Row():
                    sliders = [self.slider(name) for name in self.sliders]
                reset = gr.Button("Back to the model's own values", size="sm")
            with gr.Row():
                table = gr.Dataframe(
                    headers=COLUMNS,
                    label="Nuclei",
                    interactive=False,
                    max_height=320,
                    scale=3,
                    min_width=300,
                    elem_id="table",
                )
                histogram = gr.BarPlot(
                    x="area (px²)",
                    y="nuclei",
                    label="Areas",
                    height=320,
                    scale=2,
                    min_width=300,
                    elem_id="histogram",
                )
            with gr.Row(elem_id="downloads"):
                buttons = {kind: gr.Button(kind, size="sm", min_width=200) for kind in KINDS}
            saved = gr.HTML(html_template="", js_on_load=SAVE, visible="hidden")

            asked = [session, chooser, *sliders]
            seen = [view, table, histogram]
            on = partial(gr.on, api_visibility="private")
            look = {"fn": self.look, "inputs": asked, "outputs": seen, "show_progress_on": [view]}
            for trigger, fn, inputs in (
                (drop.upload, self.drop, [session, drop]),
                (gallery.select, self.pick, [session]),
            ):
                on(trigger, fn, inputs, [drop, refused, chooser], show_progress_on=[view]).success(
                    **look, api_visibility="private", concurrency_id="network"
                )
            on(chooser.input, **look, concurrency_id="network")
            quick = {"trigger_mode": "always_last", "show_progress": "hidden", "concurrency_limit": 4}
            on([s.change for s in sliders], self.move, asked, seen, **quick)
            on(reset.click, lambda: list(self.own()), None, sliders, show_progress="hidden")
            for kind, button in buttons.items():
                on(button.click, partial(self.save, kind), asked, saved, show_progress_on=[button])
        return blocks

    def slider(self, name: str) -> gr.Slider:
        """The slider of one parameter, at the model's own value."""
        of = self.sliders[name]
        return gr.Slider(
            of["minimum"],
            of["maximum"],
            self.values[name],
            step=of["step"],
            label=of["label"],
            min_width=270,
            elem_id=f"slider-{name}",
        )

    def own(self) -> list[float]:
        """The model's own values, in the order of the sliders."""
        return [self.values[name] for name in self.sliders]

    def drop(self, session: Session, files: Sequence[str] | None) -> tuple[None, Any, Any]:
        """Take what was dropped in place of what was there; keep that where nothing could be read."""
        images, refused = take([Path(file) for file in files or ()], self.limits)
        if images:
            session.images, session.maps = images, {}
        said = "".join(f"<p role='alert'>{html.escape(line)}</p>" for line in refused)
        return None, gr.HTML(said, visible=bool(said)), chosen(session) if images else gr.skip()

    def pick(self, session: Session, event: gr.SelectData) -> tuple[None, Any, Any]:
        """Take an example."""
        name, image = list(examples().items())[event.index]
        session.images, session.maps = {name: image}, {}
        return None, gr.HTML(visible=False), chosen(session)

    def look(
        self, session: Session, name: str | None, progress: gr.Progress = PROGRESS, *values: float
    ) -> tuple[Any, ...]:
        """Predict an image and show it."""
        if name not in session.images:
            return gr.skip(), gr.skip(), gr.skip()

        def report(done: int, total: int | None, what: str) -> None:
            # after the last tile comes post-processing, or the same at another zoom
            progress((done, total) if done != total else None, desc=f"segmenting {name}", unit=what)

        report(0, 0, "images")
        with report_progress(report):
            found = self.found(session, name, values)
        picture = viewer.picture(session.images[name])
        return gr.HTML(viewer.as_value(viewer.overlay(found)), picture=picture), *figures(found)

    def move(self, session: Session, name: str | None, *values: float) -> tuple[Any, ...]:
        """Show what other settings find; no network runs."""
        if name not in session.maps:
            return gr.skip(), gr.skip(), gr.skip()
        found = self.found(session, name, values)
        return viewer.as_value(viewer.overlay(found)), *figures(found)

    def save(self, kind: str, session: Session, name: str | None, *values: float) -> str:
        """What the browser saves as a file; none is written here."""
        if name not in session.maps:
            raise gr.Error("There is no image yet: drop one, or pick an example.", print_exception=False)
        ending, make = KINDS[kind]
        data = base64.b64encode(make(self.found(session, name, values))).decode()
        return viewer.as_value({"name": name + ending, "data": data, "at": time.time()})

    def found(self, session: Session, name: str, values: Sequence[float]) -> Found:
        """The nuclei at the settings of the sliders."""
        return session.found(name, self.model, dict(zip(self.sliders, values, strict=True)))


def chosen(session: Session) -> Any:
    """The list of images with the first of them chosen; hidden where there is one alone."""
    names = list(session.images)
    return gr.Dropdown(names, value=names[0], visible=len(names) > 1)


def figures(found: Found) -> tuple[pd.DataFrame, Any]:
    """The table, and the histogram of areas."""
    table = found.table()
    areas = table["area (px²)"]
    width = 5 * (1 + int(areas.max() if len(areas) else 0) // 120)  # at most 24 bars
    heights = np.bincount(areas // width)
    bars = pd.DataFrame({"area (px²)": width * np.arange(len(heights)), "nuclei": heights})
    return table, gr.BarPlot(bars, x_bin=width)
