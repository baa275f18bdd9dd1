"""Nuclei as polygons, in the GeoJSON that QuPath reads and writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from skimage.measure import find_contours, regionprops

Ring = list[list[float]]


def to_geojson(
    labels: np.ndarray,
    classes: Sequence[str],
    colours: Mapping[str, tuple[int, int, int]],
    measurements: Sequence[Mapping[str, float]],
) -> str:
    """Return a label map as a FeatureCollection of QuPath detections.

    Args:
        labels: ``int32 (H, W)``, 1..N, no number missing.
        classes: the class of each nucleus.
        colours: RGB of each class.
        measurements: of each nucleus, for QuPath's table.

    Returns:
        JSON. Coordinates count pixels from the upper left corner of the upper left pixel, x first, as in
        QuPath; a pixel belongs to a nucleus where its centre lies within the polygon.
    """
    features = [
        {
            "type": "Feature",
            "geometry": geometry(region.image, region.bbox[:2]),
            "properties": {
                "objectType": "detection",
                "name": str(region.label),
                "classification": {"name": name, "color": list(colours[name])},
                "measurements": dict(values),
            },
        }
        for region, name, values in zip(regionprops(labels), classes, measurements, strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":"))


def geometry(mask: np.ndarray, corner: tuple[int, int]) -> dict[str, Any]:
    """Return a GeoJSON Polygon, or a MultiPolygon where the mask is in several pieces.

    Args:
        mask: bool (H, W), not empty.
        corner: (row, column) of its first pixel in the image.
    """
    outer, holes = rings(mask, corner)
    polygons = [[ring, *(hole for hole in holes if inside(hole, ring))] for ring in outer]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def rings(mask: np.ndarray, corner: tuple[int, int]) -> tuple[list[Ring], list[Ring]]:
    """Return the closed outlines ``[[x, y], …]`` of a mask, then of its holes, half-way between pixels."""
    outer: list[Ring] = []
    holes: list[Ring] = []
    for points in find_contours(np.pad(mask, 1).astype(np.uint8), 0.5, positive_orientation="low"):
        xy = points[:, ::-1] + (corner[1] - 0.5, corner[0] - 0.5)
        x, y = xy.T
        area = x[:-1] @ y[1:] - x[1:] @ y[:-1]
        # By RFC 7946 outlines turn one way and holes the other; scikit-image turns them so.
        (outer if area > 0 else holes).append(xy.tolist())
    return outer, holes


def inside(hole: Ring, ring: Ring) -> bool:
    """Return whether a hole lies within a ring."""
    x, y = hole[0]
    return cv2.pointPolygonTest(np.array(ring, np.float32), (x, y), measureDist=False) > 0
