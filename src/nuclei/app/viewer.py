"""Prepare an image and its nuclei for the browser: the page's view, and the files to download."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nuclei.app.upload_session import Segmentation
from nuclei.inference.measure import measure, qupath_measurements, to_geojson
from nuclei.submission.csv_files import as_text, write_submission

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


def label_tiff(nuclei: Segmentation) -> bytes:
    """Write the label map as TIFF, 16 bits, or float for more nuclei: ImageJ and QuPath open both."""
    depth = np.uint16 if len(nuclei.classes) < 2**16 else np.float32
    # Python's TIFF readers know this compression too.
    options = (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE)
    return cv2.imencode(".tif", nuclei.labels.astype(depth), options)[1].tobytes()


def geojson(nuclei: Segmentation) -> bytes:
    """Write polygons as GeoJSON, with QuPath's names of the measurements."""
    rows = qupath_measurements(measure(nuclei.labels, nuclei.image))
    classes = [nuclei.class_names[n] for n in nuclei.classes]
    return to_geojson(nuclei.labels, classes, nuclei.colours, rows).encode()


def csv(nuclei: Segmentation) -> bytes:
    """Write the measurements as CSV, one row for each nucleus."""
    table = nuclei.measurements()
    table[["image", "class"]] = table[["image", "class"]].map(as_text)
    return table.to_csv(index=False, float_format="%.3f").encode()


def rle_csv(nuclei: Segmentation) -> bytes:
    """Write the competition's run-length encoding."""
    with tempfile.TemporaryDirectory(prefix="nuclei-") as folder:
        write_submission(path := Path(folder) / "rle.csv", [(nuclei.name, nuclei.labels)])
        return path.read_bytes()


@dataclass(frozen=True)
class Download:
    """A file format: its button's text, the ending of the file's name, and the function that writes it."""

    button: str
    ending: str
    write: Callable[[Segmentation], bytes]


DOWNLOADS = (
    Download("Label map (TIFF, 16 bits)", "_labels.tif", label_tiff),
    Download("Outlines for QuPath (GeoJSON)", ".geojson", geojson),
    Download("Table (CSV)", "_nuclei.csv", csv),
    Download("Run lengths (CSV)", "_rle.csv", rle_csv),
)
