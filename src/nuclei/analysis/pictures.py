"""Draw the images of the report: the microscope's image, and outlines as layers that can be hidden."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from nuclei.analysis.error_types import Errors, find_errors
from nuclei.analysis.image_analysis import Findings, Subject, Suspect
from nuclei.data.preprocessing import stretch_contrast
from nuclei.data.store import Store

COLOURS = {
    "match": "#2ecc40",
    "merge": "#ff9500",
    "split": "#ff3df2",
    "wrong outline": "#ffe600",
    "miss": "#2f9bff",
    "false find": "#ff3030",
}
"""Colours of the outlines: of predicted nuclei by their error, and of missed nuclei."""

SIDE = 720
"""Greatest side of a picture in the report, in pixels; smaller images are enlarged by a whole number."""

WINDOW = 96
"""Side of the window around an annotation that looks wrong, in pixels."""

Window = tuple[slice, slice]
WHOLE_IMAGE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Picture:
    """Three layers of one size in pixels, as data URIs of WebP images.

    The image with its contrast stretched; dashed outlines of the true nuclei on a transparent ground, in a
    colour where missed; and outlines of the predicted nuclei in the colours of ``COLOURS``.
    """

    width: int
    height: int
    image: str
    truth: str
    prediction: str


@dataclass(frozen=True)
class Card:
    """A picture with the title of its dialog, a few words in bold, and a line of text."""

    title: str
    head: str
    text: str
    picture: Picture


def best_and_worst(findings: Sequence[Findings], number: int) -> tuple[list[Findings], list[Findings]]:
    """Return the images with the highest and with the lowest score, no image in both lists.

    Of equal scores the image with more nuclei comes first, because it shows more.
    """
    ascending = sorted(findings, key=lambda f: (f.precision.mean(), -f.nuclei[0]))
    descending = sorted(findings, key=lambda f: (-f.precision.mean(), -f.nuclei[0]))
    half = min(number, len(findings) // 2)
    worst = ascending[: min(number, len(findings) - half)]
    worst_ids = {f.image_id for f in worst}
    return [f for f in descending if f.image_id not in worst_ids][:half], worst


def image_card(store: Store, subject: Subject, findings: Findings) -> Card:
    """Draw an image with its score and its number of errors."""
    truth, prediction = store.labels(findings.image_id), subject.labels(findings.image_id)
    picture = draw(store.image(findings.image_id), truth, prediction, find_errors(truth, prediction))
    nuclei = f"{findings.nuclei[0]} true, {findings.nuclei[1]} predicted"
    errors = [f"{n} × {t}" for t, n in findings.counts.items() if n and t != "inexact outline"]
    return Card(findings.image_id, f"{findings.precision.mean():.3f}", ", ".join([nuclei, *errors]), picture)


def suspect_cards(store: Store, subject: Subject, suspects: Sequence[Suspect]) -> list[Card]:
    """Draw the surroundings of annotations that look wrong; each image is segmented once."""
    cards: dict[Suspect, Card] = {}
    for image_id in dict.fromkeys(s.image_id for s in suspects):
        image, truth, prediction = store.image(image_id), store.labels(image_id), subject.labels(image_id)
        errors = find_errors(truth, prediction)
        for s in (s for s in suspects if s.image_id == image_id):
            window = window_around(s.y, s.x, truth.shape)
            picture = draw(image, truth, prediction, errors, 2 * WINDOW, window)
            text = f"{s.error_type}, {s.area} px at ({s.x}, {s.y})"
            cards[s] = Card(image_id, f"{s.suspicion:.2f}", text, picture)
    return [cards[s] for s in suspects]


def draw(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    errors: Errors,
    side: int = SIDE,
    window: Window = WHOLE_IMAGE,
) -> Picture:
    """Draw a window of an image, uint8 (H, W) or (H, W, 3), and the outlines of its nuclei, integers (H, W).

    The errors of the prediction choose the colours; ``side`` is the greatest side of the picture.
    """
    colours = _label_colours(errors, int(prediction.max(initial=0)))
    image, truth, prediction = image[window], truth[window], prediction[window]
    factor = max(1, side // max(truth.shape))
    size = (truth.shape[1] * factor, truth.shape[0] * factor)
    ground = Image.fromarray(stretch_contrast(image, high=99.8)).convert("RGB")
    ground = ground.resize(size, Image.Resampling.BICUBIC)
    truth, prediction = (np.repeat(np.repeat(a, factor, 0), factor, 1) for a in (truth, prediction))
    dashes = np.where(np.add(*np.indices(truth.shape)) // 4 % 2, 255, 0).astype(np.uint8)
    missed = np.isin(truth, errors.misses)
    layers = (
        _outlines(truth, np.where(missed[..., None], _rgb("miss"), dashes[..., None])),
        _outlines(prediction, colours[prediction]),
    )
    return Picture(*size, _webp(ground, quality=82), *(_webp(layer, lossless=True) for layer in layers))


def window_around(y: int, x: int, shape: tuple[int, ...], side: int = WINDOW) -> Window:
    """Return the window of at most ``side`` pixels around a point, inside an image of a shape (H, W)."""
    top, left = (
        min(max(0, centre - side // 2), max(0, n - side)) for centre, n in zip((y, x), shape[:2], strict=True)
    )
    return slice(top, top + side), slice(left, left + side)


def _label_colours(errors: Errors, n: int) -> np.ndarray:
    """Return the colour of each predicted nucleus, uint8 (n + 1, 3)."""
    colours = np.tile(_rgb("match"), (n + 1, 1))
    colours[[p for pieces in errors.splits.values() for p in pieces]] = _rgb("split")
    colours[list(errors.merges)] = _rgb("merge")
    colours[[p for _, p in errors.wrong]] = _rgb("wrong outline")
    colours[errors.false_finds] = _rgb("false find")
    return colours


def _rgb(error_type: str) -> np.ndarray:
    return np.array([int(COLOURS[error_type][i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def _outlines(labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Draw outlines of labels, two pixels wide, in the colours uint8 (H, W, 3)."""
    rim = find_boundaries(labels, mode="inner", connectivity=2)
    inner = find_boundaries(np.where(rim, 0, labels), mode="inner", connectivity=2)
    layer = np.zeros((*labels.shape, 4), np.uint8)
    layer[rim | inner, 3] = 255
    layer[..., :3] = np.where(layer[..., 3:] > 0, colours, 0)
    return Image.fromarray(layer)


def _webp(image: Image.Image, **options: object) -> str:
    out = io.BytesIO()
    image.save(out, "webp", method=4, **options)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
