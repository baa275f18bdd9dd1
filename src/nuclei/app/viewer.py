"""The part of the page that shows an image beside its nuclei; ``viewer.js`` draws it in the browser.

The image goes to the browser once, as a JPEG or PNG; each change of a setting sends a label map alone, a PNG
whose colours are the nuclei's numbers. So opacity, outlines and hovering need no server.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nuclei.app.upload_session import Found

SIDE = 2048  # larger images are shown smaller; what is measured and downloaded has full size
# Numbers are no photograph: without PNG's filters they take a sixth of the time to write.
FLAT = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
HERE = Path(__file__).parent
TEMPLATE = (HERE / "viewer.html").read_text()
STYLE = (HERE / "viewer.css").read_text()
SCRIPT = (HERE / "viewer.js").read_text()


def picture(image: np.ndarray) -> str:
    """An image as the browser shows it, a data URI; ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
    bgr = image if image.ndim == 2 else image[..., ::-1]
    shown = cv2.resize(bgr, shown_size(image.shape), interpolation=cv2.INTER_AREA)
    if max(image.shape[:2]) > SIDE:
        return data_uri(shown, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 90)
    return data_uri(shown, ".png", cv2.IMWRITE_PNG_COMPRESSION, 1)


def overlay(found: Found) -> dict[str, Any]:
    """What ``viewer.js`` draws over the image, and the legend: numbers in JSON and a PNG of the labels."""
    size = shown_size(found.labels.shape)
    labels = found.labels
    if size != labels.shape[::-1]:
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    return {
        "name": found.name,
        "shape": found.labels.shape,
        "size": size,
        "labels": data_uri(as_bgr(labels), ".png", *FLAT),
        "areas": found.areas.tolist(),
        "classes": found.classes.tolist(),
        "legend": [
            {"name": name, "colour": found.colours[name], "count": count}
            for name, count in found.counts.items()
        ],
    }


def shown_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) of an image in the browser.

    >>> shown_size((4096, 1024)), shown_size((520, 696))
    ((512, 2048), (696, 520))
    """
    zoom = min(1.0, SIDE / max(shape[:2]))
    return max(1, round(shape[1] * zoom)), max(1, round(shape[0] * zoom))


def as_bgr(labels: np.ndarray) -> np.ndarray:
    """``int32 (H, W)`` labels below 2**24 as BGR ``uint8``: blue counts ones, green 256s, red 65536s."""
    return cv2.cvtColor(labels.astype("<i4")[..., None].view(np.uint8), cv2.COLOR_BGRA2BGR)


def data_uri(image: np.ndarray, kind: str, *options: int) -> str:
    """An image, grey or BGR, as text that an ``<img>`` takes."""
    written = cv2.imencode(kind, image, options)[1]
    mime = {".png": "image/png", ".jpg": "image/jpeg"}[kind]
    return f"data:{mime};base64,{base64.b64encode(written.tobytes()).decode()}"


def as_value(shown: dict[str, Any] | None) -> str:
    """The text that the component carries."""
    return json.dumps(shown, separators=(",", ":"))
