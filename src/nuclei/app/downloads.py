"""Write the nuclei of one image as the bytes of a file to download."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nuclei.app.upload_session import Segmentation
from nuclei.inference.exports import to_geojson
from nuclei.submission.csv_files import write_submission


def label_tiff(nuclei: Segmentation) -> bytes:
    """Write the label map as TIFF, 16 bits, or float for more nuclei: ImageJ and QuPath open both."""
    depth = np.uint16 if len(nuclei.classes) < 2**16 else np.float32
    # Python's TIFF readers know this compression too.
    options = (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE)
    return cv2.imencode(".tif", nuclei.labels.astype(depth), options)[1].tobytes()


def geojson(nuclei: Segmentation) -> bytes:
    """Write polygons as GeoJSON, with QuPath's names of the measurements."""
    table = nuclei.measurements()
    shown = table[["area", "perimeter", "mean_intensity"]].round(3)
    shown.columns = ["Area px^2", "Perimeter px", "Mean intensity"]
    return to_geojson(nuclei.labels, table["class"], nuclei.colours, shown.to_dict("records")).encode()


def csv(nuclei: Segmentation) -> bytes:
    """Write the measurements as CSV, one row for each nucleus."""
    return nuclei.measurements().to_csv(index=False, float_format="%.3f").encode()


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
