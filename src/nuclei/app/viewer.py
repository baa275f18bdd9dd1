"""Prepare an image and its nuclei for the browser: the page's view, and the files to download."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nuclei.app.session import Segmentation
from nuclei.data.image_files import as_text
from nuclei.inference.measure import (
    LabelPart,
    class_colours,
    measure,
    polygons,
    value_text,
    write_rois,
)
from nuclei.inference.segment_files import write_labels
from nuclei.submission.csv_files import write_submission

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
    labels, size = nuclei.labels, shown_size(nuclei.labels.shape)
    colours = class_colours(nuclei.class_names)
    if size != labels.shape[::-1]:
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    shown = {
        "name": nuclei.name,
        "shape": nuclei.labels.shape,
        "size": size,
        "labels": data_uri(as_bgr(labels), ".png", *FLAT),
        "notes": nuclei.notes,
        "warnings": nuclei.warnings,
        "areas": nuclei.areas.tolist(),
        "classes": nuclei.classes.tolist(),
        "legend": [
            {"name": name, "colour": colours[name], "count": count} for name, count in nuclei.counts.items()
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


def file_bytes(write: Callable[[Path], object], ending: str) -> bytes:
    """Return what a function writes into a file."""
    with tempfile.TemporaryDirectory(prefix="nuclei-") as folder:
        write(path := Path(folder, f"file{ending}"))
        return path.read_bytes()


def label_tiff(nuclei: Segmentation) -> bytes:
    """Write the label map as TIFF, 16 bits, or float for more nuclei: ImageJ and QuPath open both."""
    pixel_size = nuclei.image.source.pixel_size
    return file_bytes(lambda path: write_labels(path, nuclei.labels, pixel_size), ".tif")


def geojson(nuclei: Segmentation) -> bytes:
    """Write polygons as GeoJSON, with QuPath's names of the measurements."""
    table = measure(nuclei.labels, np.asarray(nuclei.image.source.pixels))
    table["class"] = np.array(nuclei.class_names)[nuclei.classes]
    return "".join(polygons([LabelPart(nuclei.labels)], nuclei.class_names, table)).encode()


def rois(nuclei: Segmentation) -> bytes:
    """Write the outlines as a zip of ImageJ's ROIs."""
    return file_bytes(lambda path: write_rois(path, [LabelPart(nuclei.labels)]), ".zip")


def rle_csv(nuclei: Segmentation) -> bytes:
    """Write the competition's run-length encoding."""
    return file_bytes(lambda path: write_submission(path, [(nuclei.name, nuclei.labels)]), ".csv")


def nuclei_csv(images: Sequence[Segmentation]) -> bytes:
    """Write the measurements of one or several images as CSV, one row for each nucleus."""
    tables = [nuclei.measurements() for nuclei in images]
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    texts = {name: [value_text(name, v) for v in column.tolist()] for name, column in table.items()}
    return pd.DataFrame(texts).to_csv(index=False).encode()


def images_csv(images: Sequence[Segmentation]) -> bytes:
    """Write a row for each image as CSV, also for those without nuclei."""
    rows = [
        {
            "image": as_text(nuclei.name),
            "height": nuclei.labels.shape[0],
            "width": nuclei.labels.shape[1],
            "pixel_size_um": nuclei.image.source.pixel_size,
            "modality": nuclei.image.modality,
            "nuclei": len(nuclei.classes),
            "chosen": as_text("; ".join(nuclei.image.source.notes)),
            "warnings": as_text("; ".join(nuclei.warnings)),
        }
        for nuclei in images
    ]
    return pd.DataFrame(rows).to_csv(index=False).encode()


@dataclass(frozen=True)
class Download:
    """A file of one image: its button's text, the ending of its name, and the function that writes it."""

    button: str
    ending: str
    write: Callable[[Segmentation], bytes]


@dataclass(frozen=True)
class Table:
    """A file of all open images: its button's text, its name, and the function that writes it."""

    button: str
    name: str
    write: Callable[[Sequence[Segmentation]], bytes]


DOWNLOADS = (
    Download("Label map (TIFF, 16 bits)", "_labels.tif", label_tiff),
    Download("Outlines for QuPath (GeoJSON)", ".geojson", geojson),
    Download("Outlines for ImageJ (ROI zip)", "_rois.zip", rois),
    Download("Table (CSV)", "_nuclei.csv", lambda nuclei: nuclei_csv([nuclei])),
    Download("Run lengths (CSV)", "_rle.csv", rle_csv),
)
TABLES = (
    Table("Nuclei of all images (CSV)", "nuclei.csv", nuclei_csv),
    Table("Counts of all images (CSV)", "images.csv", images_csv),
)
