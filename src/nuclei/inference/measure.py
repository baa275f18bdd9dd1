"""Size, shape, brightness and class of nuclei, a picture of their outlines, and polygons for QuPath."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from roifile import ImagejRoi, roiwrite
from skimage.measure import find_contours, regionprops, regionprops_table
from skimage.segmentation import find_boundaries

from nuclei.data.image_files import as_text
from nuclei.data.image_stacks import Pixels
from nuclei.data.preprocessing import check_pixel_size
from nuclei.labelmap.objects import object_sums
from nuclei.labelmap.regions import compact_labels

MEASUREMENTS = {
    "label": "label",
    "area": "area",
    "centroid-0": "y",
    "centroid-1": "x",
    "intensity_mean": "mean_intensity",
    "perimeter": "perimeter",
    "axis_major_length": "major_axis",
    "axis_minor_length": "minor_axis",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
"""scikit-image's names of what is measured, and the names of the table's columns."""
INTENSITY = "intensity_mean"
QUPATH = {"area": "Area px^2", "perimeter": "Perimeter px", "mean_intensity": "Mean intensity"}
"""QuPath's names of columns."""
LENGTHS = ("y", "x", "perimeter", "major_axis", "minor_axis")
"""Columns that are lengths."""
CLASS_PREFIX = "class_"
"""How the names of maps of classes begin."""
# Okabe and Ito's colours, which people with colour-blindness tell apart.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))
"""Of classes, in RGB."""
STRIP = 4_000_000
"""Number of pixels of which intensities and edges are computed at a time."""
Ring = list[list[float]]
"""A closed outline in GeoJSON, ``[[x, y], …]``."""
ONLY_CLASS = "nucleus"
"""The class of all nuclei where no map tells classes apart."""
Columns = dict[str, np.ndarray]
"""A table: its columns by name, ``(N,)`` each."""


class LabelPart(NamedTuple):
    """Labels of a part of an image, or of the whole.

    Attributes:
        labels: ``int32 (h, w)``, 1..n, no number missing; each nucleus is there as a whole.
        corner: (row, column) in the image of its first pixel.
        first: number of nucleus 1 in the image.
    """

    labels: np.ndarray
    corner: tuple[int, int] = (0, 0)
    first: int = 1

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the part in the image."""
        (top, left), (height, width) = self.corner, self.labels.shape
        return slice(top, top + height), slice(left, left + width)


def measure(
    labels: np.ndarray,
    image: np.ndarray,
    channels: Mapping[str, np.ndarray] | None = None,
    pixel_size: float | None = None,
) -> Columns:
    """Return a table with one row for each nucleus.

    Args:
        labels: ``int32 (H, W)``.
        image: ``(H, W)`` or RGB ``(H, W, 3)``, as in the file; intensity is the mean of the colours.
        channels: ``(H, W)`` each, by name; each adds a column ``mean_intensity_NAME``.
        pixel_size: side of a pixel in µm; adds the columns of ``LENGTHS`` in µm and the area in µm².

    Returns:
        Columns as in ``MEASUREMENTS``; lengths in pixels, areas in square pixels, intensity in the
        unit of the image.

    Raises:
        ValueError: labels, image and channels differ in height or width.
        UserError: the size of a pixel is not positive.
    """
    check_pixel_size(pixel_size)
    for name, plane in {"the image": image, **(channels or {})}.items():
        if plane.shape[:2] != labels.shape:
            raise ValueError(f"{name}: expected {labels.shape}, as the labels, got {plane.shape}")
    given = labels
    if labels.max(initial=0) > labels.size:  # what follows takes memory for each number up to the largest
        labels = compact_labels(labels.ravel(), "labels").reshape(labels.shape)
    measured = regionprops_table(labels, properties=("label", "perimeter", "solidity"))
    measured |= _ellipses(labels, measured["label"])
    measured[INTENSITY] = mean_intensity(labels, measured["label"], image)
    table = {column: measured[name] for name, column in MEASUREMENTS.items()}
    for name, plane in (channels or {}).items():
        table[f"{MEASUREMENTS[INTENSITY]}_{name}"] = mean_intensity(labels, table["label"], plane)
    if labels is not given:
        table["label"] = np.unique(given[given > 0])
    return in_micrometres(table, pixel_size)


def _ellipses(labels: np.ndarray, numbers: np.ndarray) -> Columns:
    """Return area, centroid, and the ellipse of the same second moments of each of the labels ``numbers``.

    The columns are scikit-image's, whose region by region would take ten times as long.
    """
    no_maps = np.zeros((0, *labels.shape), np.uint8)
    sums = object_sums(np.ascontiguousarray(labels, np.int32), int(labels.max(initial=0)), no_maps)
    area, y, x, yy, xx, yx = sums[numbers, :6].T
    # Sums around a pixel near the centroid are small integers, so that no digits are lost below.
    row, column = y // np.maximum(area, 1), x // np.maximum(area, 1)
    yy, xx = yy - row * (2 * y - area * row), xx - column * (2 * x - area * column)
    yx = yx - row * x - column * y + area * row * column
    dy, dx = (y - area * row) / area, (x - area * column) / area
    a, b, c = yy / area - dy * dy, xx / area - dx * dx, yx / area - dy * dx
    mean, spread = (a + b) / 2, np.hypot((a - b) / 2, c)
    major, minor = mean + spread, np.maximum(mean - spread, 0)
    ratio = np.divide(minor, major, out=np.ones(len(major)), where=major > 0)
    return {
        "area": area.astype(np.float64),
        "centroid-0": row + dy,
        "centroid-1": column + dx,
        "axis_major_length": 4 * np.sqrt(major),
        "axis_minor_length": 4 * np.sqrt(minor),
        "eccentricity": np.sqrt(1 - ratio),
    }


def measure_parts(
    parts: Iterable[LabelPart],
    image: Pixels,
    channels: Mapping[str, Pixels],
    pixel_size: float | None = None,
) -> Columns:
    """Return what ``measure`` returns of an image whose labels come in parts, at least one."""
    tables = []
    for part in parts:
        window = part.window
        table = measure(part.labels, image[window], {name: c[window] for name, c in channels.items()})
        table["label"] = table["label"] + (part.first - 1)
        table["y"], table["x"] = table["y"] + part.corner[0], table["x"] + part.corner[1]
        tables.append(table)
    tables = [table for table in tables if len(table["label"])] or tables[:1]
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return in_micrometres(joined, pixel_size)


def in_micrometres(table: Columns, pixel_size: float | None) -> Columns:
    """Return a table with lengths in µm and areas in µm² too, where the side of a pixel is known."""
    if pixel_size is not None:
        table["area_um2"] = table["area"] * pixel_size**2
        for name in LENGTHS:
            table[f"{name}_um"] = table[name] * pixel_size
    return table


def mean_intensity(labels: np.ndarray, numbers: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the mean of an image in each of the labels ``numbers``, of its finite pixels.

    The image is ``(H, W)`` or RGB ``(H, W, 3)``, of which the mean of the colours is taken.
    """
    colours = np.moveaxis(np.atleast_3d(image), 2, 0)
    return np.mean([_plane_mean(labels, numbers, colour) for colour in colours], axis=0)


def _plane_mean(labels: np.ndarray, numbers: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Return the mean of a plane ``(H, W)`` in each of the labels ``numbers``, of its finite pixels."""
    length = int(labels.max(initial=0)) + 1
    sums, counts = np.zeros(length), np.zeros(length)
    for rows in _strips(labels):
        inside = np.flatnonzero(labels[rows])
        values, flat = plane[rows].reshape(-1)[inside].astype(np.float64), labels[rows].reshape(-1)[inside]
        finite = np.isfinite(values)
        sums += np.bincount(flat[finite], values[finite], minlength=length)
        counts += np.bincount(flat[finite], minlength=length)
    means = np.divide(sums, counts, out=np.full(length, np.nan), where=counts > 0)
    return means[numbers]


def _strips(labels: np.ndarray) -> Iterator[slice]:
    """Yield the rows of an image in strips, so that what is computed of each takes little memory."""
    height = max(1, STRIP // max(labels.shape[1], 1))
    for start in range(0, labels.shape[0], height):
        yield slice(start, min(start + height, labels.shape[0]))


def classes_of(parts: Iterable[LabelPart], maps: Sequence[Pixels], channels: Sequence[str]) -> np.ndarray:
    """Return the name of the class of each nucleus, ``(N,)``; see ``classify``."""
    indices = [classify(part.labels, [plane[part.window] for plane in maps], channels) for part in parts]
    return np.array(class_names(channels))[np.concatenate(indices)]


def class_colours(names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return the RGB colour of each class."""
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}


def polygons(parts: Iterable[LabelPart], names: Sequence[str], table: Columns) -> Iterator[str]:
    """Yield nuclei as a FeatureCollection of detections for QuPath, in pieces of text.

    Coordinates count pixels from the upper left corner of the upper left pixel, x first, as in QuPath; a
    pixel belongs to a nucleus where its centre lies within the polygon.

    Args:
        parts: of the labels.
        names: of all classes.
        table: of ``measure_parts``, with the column ``class`` where there are several.
    """
    colours, classes = class_colours(names), table.get("class")
    yield '{"type":"FeatureCollection","features":['
    for n, (region, corner, number) in enumerate(_regions(parts)):
        name = names[0] if classes is None else str(classes[n])
        feature = {
            "type": "Feature",
            "geometry": geometry(region.image, corner),
            "properties": {
                "objectType": "detection",
                "name": str(number),
                "classification": {"name": name, "color": list(colours[name])},
                "measurements": {
                    shown: float(value_text(column, table[column][n].item()) or "nan")
                    for column, shown in QUPATH.items()
                },
            },
        }
        yield ("," if n else "") + json.dumps(feature, separators=(",", ":"))
    yield "]}"


def value_text(column: str, value: str | float) -> str:
    """Return a value of a table of ``measure`` as text, nothing for NaN.

    Words, which may be a stranger's, become no formula of a spreadsheet; whole numbers stay; intensities, in
    whatever unit, have eight digits, others three decimals.
    """
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return ""
    return format(value, ".8g" if column.startswith(MEASUREMENTS[INTENSITY]) else ".3f")


def write_rois(path: Path, parts: Iterable[LabelPart]) -> None:
    """Write the outlines of nuclei as a zip of ImageJ ROIs, of a nucleus in pieces the longest outline."""
    outlines = (
        (max(rings(region.image, corner)[0], key=len), number) for region, corner, number in _regions(parts)
    )
    rois = (ImagejRoi.frompoints(np.array(ring[:-1]), name=str(number)) for ring, number in outlines)
    roiwrite(path, rois, mode="w")


def _regions(parts: Iterable[LabelPart]) -> Iterator[tuple[Any, tuple[int, int], int]]:
    """Yield each nucleus, the (row, column) in the image of its bounding box, and its number."""
    for part in parts:
        for region in regionprops(part.labels):
            corner = region.bbox[0] + part.corner[0], region.bbox[1] + part.corner[1]
            yield region, corner, region.label + part.first - 1


def outline(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return RGB ``uint8 (H, W, 3)`` of the image with the inner edge of each nucleus in yellow."""
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()
    for rows in _strips(labels):
        first = max(rows.start - 1, 0)  # the row above and the one below tell what is an edge
        edges = find_boundaries(labels[first : rows.stop + 1], mode="inner")[rows.start - first :]
        rgb[rows][edges[: rows.stop - rows.start]] = (255, 220, 0)
    return rgb


def class_names(channels: Sequence[str]) -> list[str]:
    """Return the names of the classes that maps with these channels tell apart, at least one.

    >>> class_names(["nucleus", "class_epithelial", "class_other"]), class_names(["nucleus"])
    (['epithelial', 'other'], ['nucleus'])
    """
    return [c.removeprefix(CLASS_PREFIX) for c in channels if c.startswith(CLASS_PREFIX)] or [ONLY_CLASS]


def classify(
    labels: np.ndarray, maps: Sequence[np.ndarray] | np.ndarray, channels: Sequence[str]
) -> np.ndarray:
    """Give each nucleus the class whose map is highest on average within it.

    Args:
        labels: ``int32 (H, W)``, 1..N.
        maps: ``uint8 (H, W)`` each.
        channels: names of the maps.

    Returns:
        ``int64 (N,)``: for nucleus n at n - 1 the index of its class in ``class_names``; the first of equals.
    """
    count = int(labels.max(initial=0))
    class_maps = [m for m, c in zip(maps, channels, strict=True) if c.startswith(CLASS_PREFIX)]
    if not class_maps:
        return np.zeros(count, np.int64)
    flat = labels.ravel()
    sums = [np.bincount(flat, m.ravel(), minlength=count + 1)[1:] for m in class_maps]
    return np.argmax(sums, axis=0)


def geometry(mask: np.ndarray, corner: tuple[int, int]) -> dict[str, Any]:
    """Return a GeoJSON Polygon, or a MultiPolygon where the mask is in several pieces.

    Args:
        mask: bool (H, W), not empty.
        corner: (row, column) of its first pixel in the image.
    """
    outer, holes = rings(mask, corner)
    around = [min((ring for ring in outer if inside(hole, ring)), key=ring_area) for hole in holes]
    polygons = [[ring, *(h for h, o in zip(holes, around, strict=True) if o is ring)] for ring in outer]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def rings(mask: np.ndarray, corner: tuple[int, int]) -> tuple[list[Ring], list[Ring]]:
    """Return the closed outlines ``[[x, y], …]`` of a mask, then of its holes, half-way between pixels."""
    outer: list[Ring] = []
    holes: list[Ring] = []
    for points in find_contours(np.pad(mask, 1).astype(np.uint8), 0.5, positive_orientation="low"):
        xy = points[:, ::-1] + (corner[1] - 0.5, corner[0] - 0.5)
        # By RFC 7946 outlines turn one way and holes the other; scikit-image turns them so.
        (outer if ring_area(xy) > 0 else holes).append(xy.tolist())
    return outer, holes


def ring_area(ring: Ring | np.ndarray) -> float:
    """Return the area within a ring, below 0 where it turns as holes do."""
    x, y = np.asarray(ring).T
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2


def inside(hole: Ring, ring: Ring) -> bool:
    """Return whether a hole lies within a ring."""
    x, y = hole[0]
    return cv2.pointPolygonTest(np.array(ring, np.float32), (x, y), measureDist=False) > 0
