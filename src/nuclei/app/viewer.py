"""Prepare an image and its nuclei for the browser, where ``viewer.js`` draws them.

The image goes to the browser once, as a JPEG or PNG; each change of a setting sends a label map alone, a PNG
whose colours are the nuclei's numbers. So opacity, outlines and hovering need no server.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from nuclei.app.upload_session import Segmentation

SIDE = 2048  # larger images are shown smaller; what is measured and downloaded has full size
# Numbers are no photograph: without PNG's filters they take a sixth of the time to write.
FLAT = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
HERE = Path(__file__).parent
TEMPLATE = (HERE / "viewer.html").read_text()
STYLE = (HERE / "viewer.css").read_text()
SCRIPT = (HERE / "viewer.js").read_text()


def picture(image: np.ndarray) -> str:
    """Return an image, uint8 (H, W) or RGB (H, W, 3), as a data URI for the browser."""
    bgr = image if image.ndim == 2 else image[..., ::-1]
    shown = cv2.resize(bgr, shown_size(image.shape), interpolation=cv2.INTER_AREA)
    if max(image.shape[:2]) > SIDE:
        return data_uri(shown, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 90)
    return data_uri(shown, ".png", cv2.IMWRITE_PNG_COMPRESSION, 1)


def overlay(nuclei: Segmentation) -> str:
    """Return as JSON what ``viewer.js`` draws over the image, with a PNG of the labels, and the legend."""
    size = shown_size(nuclei.labels.shape)
    labels = nuclei.labels
    if size != labels.shape[::-1]:
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    shown = {
        "name": nuclei.name,
        "shape": nuclei.labels.shape,
        "size": size,
        "labels": data_uri(as_bgr(labels), ".png", *FLAT),
        "areas": nuclei.areas.tolist(),
        "classes": nuclei.classes.tolist(),
        "legend": [
            {"name": name, "colour": nuclei.colours[name], "count": count}
            for name, count in nuclei.counts.items()
        ],
    }
    return as_json(shown)


def shown_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (width, height) of an image in the browser.

    >>> shown_size((4096, 1024)), shown_size((520, 696))
    ((512, 2048), (696, 520))
    """
    zoom = min(1.0, SIDE / max(shape[:2]))
    return max(1, round(shape[1] * zoom)), max(1, round(shape[0] * zoom))


def as_bgr(labels: np.ndarray) -> np.ndarray:
    """Return labels, int32 (H, W) below 2**24, as uint8 BGR: blue counts ones, green 256s, red 65536s."""
    return cv2.cvtColor(labels.astype("<i4")[..., None].view(np.uint8), cv2.COLOR_BGRA2BGR)


def data_uri(image: np.ndarray, ending: str, *options: int) -> str:
    """Return an image, grey or BGR, as the source of an ``<img>``; the ending is ``.png`` or ``.jpg``."""
    written = cv2.imencode(ending, image, options)[1]
    mime = {".png": "image/png", ".jpg": "image/jpeg"}[ending]
    return f"data:{mime};base64,{base64.b64encode(written.tobytes()).decode()}"


def as_json(value: Mapping[str, object] | None) -> str:
    """Return a value as a component carries it to the browser."""
    return json.dumps(value, separators=(",", ":"))
