"""Images with outlines: the picture, and over it truth and prediction as layers that can be hidden."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from nuclei.analysis.error_types import Errors

COLOURS = {
    "match": "#2ecc40",
    "merge": "#ff9500",
    "split": "#ff3df2",
    "wrong outline": "#ffe600",
    "miss": "#2f9bff",
    "false find": "#ff3030",
}
"""Outlines of the prediction by what it is, and of missed nuclei; one set for all grounds."""

SIDE = 720
"""Greatest side of a picture in the report, in pixels; smaller images are enlarged by a whole number."""


Window = tuple[slice, slice]
ALL: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Picture:
    """Three layers of one size, as data URIs of WebP images.

    Attributes:
        width, height: of the layers, in pixels.
        image: the picture, its contrast stretched.
        truth: outlines of the true nuclei on a transparent ground, dashed; in a colour where missed.
        prediction: outlines of the predicted nuclei, in the colours of ``COLOURS``.
    """

    width: int
    height: int
    image: str
    truth: str
    prediction: str


def picture(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    errors: Errors,
    side: int = SIDE,
    window: Window = ALL,
) -> Picture:
    """Draw an image and the outlines of its nuclei.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        truth: integers (H, W).
        prediction: the same.
        errors: of the two, for the colours.
        side: greatest side of what is drawn.
        window: the part that is drawn.
    """
    colours = _colours_of(errors, int(prediction.max(initial=0)))
    image, truth, prediction = image[window], truth[window], prediction[window]
    factor = max(1, side // max(truth.shape))
    size = (truth.shape[1] * factor, truth.shape[0] * factor)
    ground = Image.fromarray(stretched(image)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    true, predicted = (np.repeat(np.repeat(a, factor, 0), factor, 1) for a in (truth, prediction))
    dashes = np.where(np.add(*np.indices(true.shape)) // 4 % 2, 255, 0).astype(np.uint8)
    missed = np.isin(true, errors.misses)
    layers = (
        _outlines(true, np.where(missed[..., None], _rgb("miss"), dashes[..., None])),
        _outlines(predicted, colours[predicted]),
    )
    return Picture(*size, _webp(ground, quality=82), *(_webp(layer, lossless=True) for layer in layers))


def stretched(image: np.ndarray) -> np.ndarray:
    """Stretch the contrast of an image for the eye, from its 0.5th percentile to its 99.8th."""
    low, high = np.percentile(image, (0.5, 99.8))
    return (np.clip((image - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)


def cut(image: np.ndarray, y: int, x: int, side: int = 96) -> Window:
    """Return the window of at most ``side`` pixels around a point, inside the image."""
    top, left = (
        min(max(0, at - side // 2), max(0, n - side)) for at, n in zip((y, x), image.shape[:2], strict=True)
    )
    return slice(top, top + side), slice(left, left + side)


def _colours_of(errors: Errors, n: int) -> np.ndarray:
    """Return the colour of each predicted nucleus, uint8 (n + 1, 3)."""
    colours = np.tile(_rgb("match"), (n + 1, 1))
    colours[[p for pieces in errors.splits.values() for p in pieces]] = _rgb("split")
    colours[list(errors.merges)] = _rgb("merge")
    colours[[p for _, p in errors.wrong]] = _rgb("wrong outline")
    colours[errors.false_finds] = _rgb("false find")
    return colours


def _rgb(kind: str) -> np.ndarray:
    return np.array([int(COLOURS[kind][i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def _outlines(labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Draw the rims of labels, two pixels wide, in the colours (H, W, 3)."""
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
