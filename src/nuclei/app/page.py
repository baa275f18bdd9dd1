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
from nuclei.app.session import (
    COLUMNS,
    CONTROLS,
    Limits,
    OpenImage,
    Segmentation,
    Session,
    example_images,
    in_memory,
    in_words,
    open_image,
    take,
)
from nuclei.app.viewer import DOWNLOADS, TABLES, Download, Table
from nuclei.data.image_stacks import SourceImage
from nuclei.data.preprocessing import COLOURS, MODALITIES, ImageHints
from nuclei.errors import UserError
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
AUTO = "auto"
POLARITIES = {AUTO: None, "bright": False, "dark": True}
"""Whether nuclei are darker than the ground, by the values of the control."""
NO_IMAGE = "There is no image yet: drop one, or pick an example."
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
                    label=f"PNG, JPEG or TIFF, up to {self.limits.megabytes:g} MB each, "
                    f"{self.limits.megapixels:g} megapixels at once",
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
            with gr.Row(visible=False, elem_id="choices") as row:
                chooser = gr.Dropdown(label="Image", visible=False, elem_id="chooser", min_width=200)
                controls = self.controls()
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
            with gr.Row(elem_id="tables", visible=False) as all_images:
                tables = [gr.Button(t.button, size="sm", min_width=200) for t in TABLES]
            saved = gr.HTML(html_template="", js_on_load=SAVE, visible="hidden")

            inputs = [session, chooser, *sliders]
            outputs = [view, table, histogram]
            on = partial(gr.on, api_visibility="private")
            show = {"fn": self.show, "inputs": inputs, "outputs": outputs, "show_progress_on": [view]}
            show |= {"api_visibility": "private", "concurrency_id": "network"}
            opened = {"outputs": [drop, refused, chooser, row, all_images], "show_progress_on": [view]}
            described: Settings = {"fn": self.describe, "inputs": [session, chooser], "outputs": controls}
            described |= {"api_visibility": "private"}
            on(drop.upload, self.drop, [session, drop], **opened).success(**described).success(**show)
            on(gallery.select, self.pick, [session], **opened).success(**described).success(**show)
            gr.on(chooser.input, **described).success(**show)
            modality, diameter = controls[1], controls[3]
            changes = [c.input for c in controls[:3]] + [diameter.submit, diameter.blur]
            on(changes, self.choose, [session, chooser, *controls], modality).success(**show)
            quick = {"trigger_mode": "always_last", "show_progress": "hidden", "concurrency_limit": 4}
            on([s.change for s in sliders], self.move, inputs, outputs, **quick)
            on(reset.click, self.model_values, None, sliders, show_progress="hidden")
            for download, button in zip(DOWNLOADS, buttons, strict=True):
                on(button.click, partial(self.save, download), inputs, saved, show_progress_on=[button])
            for table_file, button in zip(TABLES, tables, strict=True):
                every = {"show_progress_on": [button], "concurrency_id": "network"}
                on(button.click, partial(self.save_all, table_file), [session, *sliders], saved, **every)
        return blocks

    def slider(self, name: str, slider: Slider) -> gr.Slider:
        """Return the slider of a parameter, at the model's own value."""
        shown: Settings = {"label": slider.label, "elem_id": f"slider-{name}", "min_width": 270}
        return gr.Slider(slider.minimum, slider.maximum, self.values[name], step=slider.step, **shown)

    def controls(self) -> list[Any]:
        """Return what is chosen of each image: channel, modality, polarity, and mean diameter."""
        polarities = [
            ("as the modality says", AUTO),
            ("nuclei are brighter", "bright"),
            ("nuclei are darker", "dark"),
        ]
        sized = all(n.diameter is not None and "distance" in n.channels for n in self.model.networks)
        return [
            gr.Dropdown([0], value=0, label=CONTROLS["channel"], elem_id="channel", min_width=200),
            gr.Dropdown([AUTO], value=AUTO, label=CONTROLS["modality"], elem_id="modality", min_width=200),
            gr.Dropdown(polarities, value=AUTO, label=CONTROLS["invert"], elem_id="polarity", min_width=200),
            gr.Number(
                None,
                label=f"{CONTROLS['diameter']} (px)",
                placeholder="measured",
                elem_id="diameter",
                min_width=200,
                visible=sized,
            ),
        ]

    def model_values(self) -> list[float]:
        """Return the model's own values, in the order of the sliders."""
        return [self.values[name] for name in self.sliders]

    def drop(self, session: Session, files: Sequence[str] | None) -> tuple[Any, ...]:
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
        shown = choice(session) if images else (gr.skip(), gr.skip(), gr.skip())
        return None, gr.HTML(alerts, visible=bool(alerts)), *shown

    def pick(self, session: Session, event: gr.SelectData) -> tuple[Any, ...]:
        """Open an example."""
        name, image = list(example_images().items())[event.index]
        names = COLOURS if image.ndim == 3 else ("grey",)
        source = SourceImage("", image, image, names, lambda n: np.atleast_3d(image)[..., n])
        session.images, session.maps = {name: open_image(in_memory(source))}, {}
        return None, gr.HTML(visible=False), *choice(session)

    def describe(self, session: Session, name: str | None) -> tuple[Any, ...]:
        """Return the controls with what is chosen of an image."""
        if name not in session.images:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        image = session.images[name]
        polarity = next(key for key, invert in POLARITIES.items() if invert == image.hints.invert)
        return channels(image), modalities(image), polarity, image.hints.diameter

    def choose(
        self,
        session: Session,
        name: str | None,
        channel: int | None,
        modality: str | None,
        polarity: str | None,
        diameter: float | None,
    ) -> Any:
        """Choose a channel, and tell what an image shows; its nuclei are sought anew where that is new."""
        if name not in session.images:
            return gr.skip()
        image = session.images[name]
        known = next((m for m in MODALITIES if m == modality), None)
        try:
            hints = ImageHints(known, POLARITIES.get(polarity or AUTO), diameter or None)
        except UserError as e:
            raise gr.Error(in_words(str(e)), print_exception=False) from e
        channel = channel or 0  # a control that was emptied
        if not 0 <= channel <= len(image.whole.channels):
            raise gr.Error(f"there is no channel {channel}", print_exception=False)
        if (channel, hints) != (image.channel, image.hints):
            session.images[name] = open_image(image.whole, channel, hints)
        return modalities(session.images[name])

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
        picture = viewer.picture(np.asarray(nuclei.image.source.shown))
        return gr.HTML(viewer.overlay(nuclei), picture=picture), *figures(nuclei)

    def move(self, session: Session, name: str | None, *values: float) -> tuple[Any, ...]:
        """Show the nuclei at other settings; no network runs."""
        if name is None or not session.has_maps(name):
            return gr.skip(), gr.skip(), gr.skip()
        nuclei = self.segment(session, name, values)
        return viewer.overlay(nuclei), *figures(nuclei)

    def save(self, download: Download, session: Session, name: str | None, *values: float) -> str:
        """Return a file's name and content for the browser to save; no file is written here."""
        if name is None or not session.has_maps(name):
            raise gr.Error(NO_IMAGE, print_exception=False)
        return sent(name + download.ending, download.write(self.segment(session, name, values)))

    def save_all(
        self, table: Table, session: Session, progress: gr.Progress = PROGRESS, *values: float
    ) -> str:
        """Return a table of all open images; the network runs for those that were not shown yet."""
        if not session.images:
            raise gr.Error(NO_IMAGE, print_exception=False)
        names = progress.tqdm(list(session.images), desc="segmenting", unit="images")
        return sent(table.name, table.write([self.segment(session, name, values) for name in names]))

    def segment(self, session: Session, name: str, values: Sequence[float]) -> Segmentation:
        """Return the nuclei at the settings of the sliders."""
        try:
            return session.segment(name, self.model, dict(zip(self.sliders, values, strict=True)))
        except UserError as e:
            raise gr.Error(in_words(str(e)), print_exception=False) from e


def sent(name: str, content: bytes) -> str:
    """Return a file as ``save.js`` takes it."""
    return viewer.as_json({"name": name, "data": base64.b64encode(content).decode(), "at": time.time()})


def channels(image: OpenImage) -> Any:
    """Return the list of an image's channels; hidden where there is only one."""
    names = image.whole.channels
    first = "all colours" if image.whole.shown.ndim == 3 else "chosen for you"
    numbered = [(f"{n}: {name}", n) for n, name in enumerate(names, 1)]
    return gr.Dropdown([(first, 0), *numbered], value=image.channel, visible=len(names) > 1)


def modalities(image: OpenImage) -> Any:
    """Return the list of modalities; the first one tells what the image looks like."""
    doubt = ", in doubt" if image.doubtful else ""
    looks = (f"as it looks: {image.guess}{doubt}", AUTO)
    return gr.Dropdown([looks, *((m, m) for m in MODALITIES)], value=image.hints.modality or AUTO)


def choice(session: Session) -> tuple[Any, Any, Any]:
    """Return the list of images with the first one chosen, the row of choices, and the tables of all images.

    List and tables are hidden where there is only one image.
    """
    names = list(session.images)
    several = len(names) > 1
    return gr.Dropdown(names, value=names[0], visible=several), gr.Row(visible=True), gr.Row(visible=several)


def figures(nuclei: Segmentation) -> tuple[pd.DataFrame, Any]:
    """Return the table of nuclei and the histogram of their areas."""
    table = nuclei.table()
    areas = table["area (px²)"]
    width = 5 * (1 + int(areas.max() if len(areas) else 0) // 120)  # at most 24 bars
    heights = np.bincount(areas // width)
    bars = pd.DataFrame({"area (px²)": width * np.arange(len(heights)), "nuclei": heights})
    return table, gr.BarPlot(bars, x_bin=width)
