"""What can be taken home of one image, as the bytes of a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from nuclei.app.upload_session import Found
from nuclei.inference.exports import to_geojson
from nuclei.submission.csv_files import write_submission


def label_tiff(found: Found) -> bytes:
    """The label map, 16 bits, or float where there are more nuclei: ImageJ and QuPath open both."""
    depth = np.uint16 if len(found.classes) < 2**16 else np.float32
    deflate = (
        cv2.IMWRITE_TIFF_COMPRESSION,
        cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE,
    )  # Python reads it too
    return cv2.imencode(".tif", found.labels.astype(depth), deflate)[1].tobytes()


def geojson(found: Found) -> bytes:
    """Polygons for QuPath, with its names for the measurements."""
    table = found.measured()
    shown = table[["area", "perimeter", "mean_intensity"]].round(3)
    shown.columns = ["Area px^2", "Perimeter px", "Mean intensity"]
    return to_geojson(found.labels, table["class"], found.colours, shown.to_dict("records")).encode()


def csv(found: Found) -> bytes:
    """One row for each nucleus."""
    return found.measured().to_csv(index=False, float_format="%.3f").encode()


def rle_csv(found: Found) -> bytes:
    """The competition's run-length code."""
    with tempfile.TemporaryDirectory(prefix="nuclei-") as folder:
        write_submission(path := Path(folder) / "rle.csv", [(found.name, found.labels)])
        return path.read_bytes()


# What the button says, what is appended to the image's name, and what makes it.
KINDS: dict[str, tuple[str, Callable[[Found], bytes]]] = {
    "Label map (TIFF, 16 bits)": ("_labels.tif", label_tiff),
    "Outlines for QuPath (GeoJSON)": (".geojson", geojson),
    "Table (CSV)": ("_nuclei.csv", csv),
    "Run lengths (CSV)": ("_rle.csv", rle_csv),
}
