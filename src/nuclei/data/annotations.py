"""Annotations as people draw them: label maps, polygons from QuPath (GeoJSON), and COCO.

Polygons count pixels from the upper left corner of the upper left pixel, x first; a pixel belongs to a
nucleus where its centre lies within the polygon, as in what ``predict`` writes for QuPath.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.draw import polygon
from skimage.measure import label

from nuclei.data.image_io import SUFFIXES, read_images
from nuclei.errors import UserError

LABEL_SUFFIXES = (*(s for s in SUFFIXES if s not in (".jpg", ".jpeg", ".jpe", ".gif")), ".npy")
"""Endings of label maps; JPEG changes the numbers, GIF has colours."""
LABELS_EXPECTED = "expected 0 for the background and a whole number for each nucleus"
Ring = Sequence[Sequence[float]]


def read_label_map(path: Path) -> np.ndarray:
    """Read a label map, integers ``(H, W)`` with any numbering, from TIFF, PNG, NumPy and similar files.

    Raises:
        UserError: the file cannot be read, or holds a picture and no label map.
    """
    labels = _load_array(path) if path.suffix.lower() == ".npy" else _read_plane(path)
    if labels.ndim != 2 or not labels.size:
        raise UserError(f"{path}: expected one plane (H, W), got {labels.shape}")
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels).all() and (labels == np.rint(labels)).all()
        if not whole or np.abs(labels).max() >= 2**31:
            raise UserError(f"{path} holds {labels.dtype} values that are not whole; {LABELS_EXPECTED}")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise UserError(f"{path} holds {labels.dtype}; {LABELS_EXPECTED}")
    if labels.min() < 0:
        raise UserError(f"{path} holds {labels.min()}; {LABELS_EXPECTED}")
    return labels.astype(labels.dtype.newbyteorder("="), copy=False)


def _load_array(path: Path) -> np.ndarray:
    """Load a NumPy file, without the pickled objects that could run code."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as e:
        raise UserError(f"{path} is no NumPy file with one array of numbers: {e}") from e


def _read_plane(path: Path) -> np.ndarray:
    images = read_images(path, stored=True)  # ImageJ saves masks with a look-up table that inverts them
    image = next(images)
    if image.pixels.ndim != 2:
        raise UserError(f"{path} is a picture in colours, no label map; {LABELS_EXPECTED}")
    if any(note.startswith(("maximum of", "channel ")) for note in image.notes) or next(images, None):
        raise UserError(f"{path} holds several planes; expected one label map (H, W)")
    return np.asarray(image.pixels)


def merge_pixels(objects: Sequence[np.ndarray], shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
    """Merge the pixels of each nucleus into a label map.

    The rules, each counted in ``counts``: ``empty`` objects are left out; where objects are
    ``overlapping``, the smaller nucleus keeps the pixels, since the larger would swallow it; a nucleus
    ``covered`` completely by smaller ones is left out.

    Objects are indices ``(k,)`` into the flattened image. The result is ``int32 (H, W)``, 0 is background,
    1..N the nuclei in the order of the objects.
    """
    kept = [pixels for pixels in objects if pixels.size]
    counts["empty"] += len(objects) - len(kept)
    flat = np.zeros(shape[0] * shape[1], np.int32)
    for number, pixels in sorted(enumerate(kept, 1), key=lambda k: -k[1].size):
        counts["overlapping"] += bool(flat[pixels].any())
        flat[pixels] = number
    visible = np.unique(flat[flat > 0])
    counts["covered"] += len(kept) - len(visible)
    numbers = np.zeros(len(kept) + 1, np.int32)
    numbers[visible] = np.arange(1, len(visible) + 1)
    return numbers[flat].reshape(shape)


def polygon_pixels(parts: Sequence[Sequence[Ring]], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels of a nucleus within the image, ascending indices ``(k,)`` into it flattened.

    The parts are polygons, each an outline and its holes, rings of (x, y).

    Raises:
        ValueError: a ring is none.
    """
    pixels = np.zeros(0, np.int64)
    for outline, *holes in parts:
        inside = _ring_pixels(outline, shape)
        for hole in holes:
            inside = np.setdiff1d(inside, _ring_pixels(hole, shape))
        pixels = np.union1d(pixels, inside)
    return pixels


def _ring_pixels(ring: Ring, shape: tuple[int, int]) -> np.ndarray:
    points = np.array(ring, np.float64)
    if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise ValueError("expected a ring of three points (x, y) or more")
    rows, columns = polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, shape)
    return np.unique(rows * shape[1] + columns)


def read_geojson(path: Path, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
    """Read the nuclei that QuPath wrote as GeoJSON.

    Regions are left out: where there are detections, all annotations; an annotation that has two others in
    it; and what QuPath's own classes for regions name, which end in an asterisk, such as ``Region*``. These,
    points and lines are counted in ``counts``, beside what ``merge_pixels`` counts, which makes the result.

    Raises:
        UserError: the file is damaged, or a polygon lies outside of the image.
    """
    tree = _load_json(path)
    features = tree.get("features", [tree]) if isinstance(tree, dict) else tree
    try:
        kinds = [_object_type(feature) for feature in features]
        found = any(kind in ("detection", "cell") for kind in kinds)
        objects = []
        for number, (feature, kind) in enumerate(zip(features, kinds, strict=True), 1):
            shown = feature.get("nucleusGeometry") or feature["geometry"]  # of QuPath's cells the nucleus
            parts = {"Polygon": [shown.get("coordinates")], "MultiPolygon": shown.get("coordinates")}
            if shown["type"] not in parts:
                counts["points or lines left out"] += 1
            elif (found and kind not in ("detection", "cell")) or _class_name(feature).endswith("*"):
                counts["regions left out"] += 1
            else:
                outlines = parts[shown["type"]]
                _check_within(outlines, shape, f"{path}, feature {number}")
                objects.append(polygon_pixels(outlines, shape))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as e:
        raise UserError(f"{path}: expected GeoJSON with polygons, as QuPath writes it: {e!r}") from e
    middles = np.array([pixels[pixels.size // 2] for pixels in objects if pixels.size], np.int64)
    nuclei = [pixels for pixels in objects if np.isin(middles, pixels).sum() <= 2]  # its own and one more
    counts["regions left out"] += len(objects) - len(nuclei)
    return merge_pixels(nuclei, shape, counts)


def _object_type(feature: Mapping[str, Any]) -> str:
    """Return what QuPath calls an object, such as detection; older versions have it as an id."""
    kind = (feature.get("properties") or {}).get("objectType") or feature.get("id") or ""
    return str(kind).removeprefix("Path").removesuffix("Object").lower()


def _class_name(feature: Mapping[str, Any]) -> str:
    return str(((feature.get("properties") or {}).get("classification") or {}).get("name") or "")


def _check_within(parts: Sequence[Sequence[Ring]], shape: tuple[int, int], name: str) -> None:
    """Refuse polygons that lie outside of the image as a whole, so that wrong units are noticed."""
    points = np.array([point[:2] for ring in parts for point in ring[0]], np.float64)
    if (points.max(0) <= 0).any() or (points.min(0) >= shape[::-1]).any():
        x, y = points[0]
        raise UserError(
            f"{name} lies outside of the image of {shape[1]}x{shape[0]} pixels, at x={x:g}, y={y:g}; "
            "expected pixels of this image, counted from its upper left corner"
        )


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"cannot read {path} as JSON: {e}") from e


def read_coco(path: Path) -> dict[str, list[Mapping[str, Any]]] | None:
    """Return a COCO file's entries by ``file_name``: the image's own, then its annotations.

    None where the JSON is of another kind.

    Raises:
        UserError: the file is damaged, or an annotation is of no image.
    """
    tree = _load_json(path)
    if not isinstance(tree, dict) or not {"images", "annotations"} <= tree.keys():
        return None
    try:
        names = {image["id"]: str(image["file_name"]) for image in tree["images"]}
        entries: dict[str, list[Mapping[str, Any]]] = {str(i["file_name"]): [i] for i in tree["images"]}
        if len(entries) < len(tree["images"]):
            raise UserError(f"{path} lists an image twice; expected each file_name once")
        if len(names) < len(entries):
            raise UserError(f"{path} gives two images one id; expected each id once")
        for annotation in tree["annotations"]:
            if annotation["image_id"] not in names:
                raise UserError(
                    f"{path}: annotation {annotation.get('id')} is of image {annotation['image_id']}, "
                    "which is not in its list of images"
                )
            entries[names[annotation["image_id"]]].append(annotation)
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: expected COCO's images and annotations: {e!r}") from e
    return entries


def coco_labels(
    entries: Sequence[Mapping[str, Any]], shape: tuple[int, int], counts: Counter[str], name: str
) -> np.ndarray:
    """Return the label map of one image of a COCO file, ``int32 (H, W)``, numbered without gaps.

    Crowds (``iscrowd``) are left out, and counted beside what ``merge_pixels`` counts.

    Raises:
        UserError: the image has another size, or an annotation has no outline or one that lies elsewhere.
    """
    image, *annotations = entries
    size = image.get("height") or shape[0], image.get("width") or shape[1]
    if size != shape:
        raise UserError(
            f"{name}: annotated at {size[1]}x{size[0]} pixels, the image has {shape[1]}x{shape[0]}"
        )
    objects = []
    for annotation in annotations:
        if annotation.get("iscrowd"):
            counts["crowds left out"] += 1
            continue
        where = f"{name}, annotation {annotation.get('id')}"
        try:
            objects.append(_coco_pixels(annotation.get("segmentation"), shape, where))
        except (KeyError, TypeError, ValueError, IndexError) as e:
            raise UserError(f"{where}: expected polygons or run lengths: {e}") from e
    return merge_pixels(objects, shape, counts)


def _coco_pixels(segmentation: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    """Return the pixels of polygons, or of run lengths down the columns, as in ``polygon_pixels``."""
    if not segmentation:
        raise ValueError("it has a box and no outline")
    if isinstance(segmentation, Mapping):
        if tuple(segmentation["size"]) != shape:
            raise ValueError(f"run lengths of {segmentation['size']} for an image of {list(shape)}")
        counts = segmentation["counts"]
        runs = np.array(list(_decode_counts(counts)) if isinstance(counts, str) else counts, np.int64)
        if runs.min() < 0 or runs.sum() != shape[0] * shape[1]:
            raise ValueError("run lengths that do not fill the image")
        columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape[::-1])
        return np.flatnonzero(columns.T)
    parts = [[np.array(ring, np.float64).reshape(-1, 2).tolist()] for ring in segmentation]
    _check_within(parts, shape, name)
    return polygon_pixels(parts, shape)


def _decode_counts(text: str) -> Iterator[int]:
    """Yield the run lengths of COCO's text: six bits a character, from the third on less the one two before.

    >>> list(_decode_counts("52203"))
    [5, 2, 2, 2, 5]
    """
    before: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            before.append(value + (before[-2] if len(before) > 2 else 0))
            yield before[-1]
            value = shift = 0


def pieces(mask: np.ndarray) -> np.ndarray:
    """Return the 8-connected pieces of a mask ``(H, W)`` as labels, ``int32 (H, W)``."""
    return cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[1].astype(np.int32)


def nuclei_of(labels: np.ndarray, name: str, counts: Counter[str]) -> np.ndarray:
    """Number the nuclei of a label map ``(H, W)`` without gaps, as int32.

    The nuclei of a mask of one value are its connected pieces. Counted in ``counts`` are such masks, nuclei
    ``in several pieces``, and those larger than half of their image, as in masks that are inverted.

    Raises:
        UserError: there is no background, or the values are classes of pixels and no nuclei.
    """
    present, dense = np.unique(labels, return_inverse=True)
    if present.size and present[0] != 0:
        raise UserError(f"{name} has no background; {LABELS_EXPECTED}")
    nuclei = dense.reshape(labels.shape).astype(np.int32)
    if len(present) == 2 and (parts := pieces(labels)).max() > 1:
        counts["masks of one value, whose connected pieces are taken for nuclei"] += 1
        nuclei = parts
    n = int(nuclei.max(initial=0))
    first = np.unique(label(nuclei, connectivity=2), return_index=True)[1]  # a pixel of each piece
    n_pieces = np.bincount(nuclei.ravel()[first], minlength=n + 1)[1:]
    if n > 1 and 2 * np.count_nonzero(n_pieces > 2) > n:
        raise UserError(
            f"{name} holds {n} values, most of them in three pieces or more, as classes of pixels are; "
            f"{LABELS_EXPECTED}"
        )
    counts["in several pieces"] += int(np.count_nonzero(n_pieces > 1))
    if 2 * np.bincount(nuclei.ravel())[1:].max(initial=0) > nuclei.size:
        counts["nuclei larger than half of their image (is the mask inverted?)"] += 1
    return nuclei
