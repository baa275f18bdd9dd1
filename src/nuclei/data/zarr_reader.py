"""Read OME-Zarr folders by region: images of NGFF 0.1 to 0.5, series of Bio-Formats, plates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nuclei.data.image_stacks import NUCLEAR, Pixels, Stack, image_by_region
from nuclei.data.tiff_reader import MICROMETRES, SEGMENT

OLD_AXES = "tczyx"
"""Axes before NGFF 0.3, which does not name them."""
RGB = ("FF0000", "00FF00", "0000FF")
"""Colours of the channels of a photograph."""


def read_zarr(path: Path, large: float = math.inf) -> Iterator[Stack]:
    """Yield each image of an OME-Zarr folder, at its full size; planes above ``large`` pixels by region.

    Raises:
        ValueError: there is no image in it.
    """
    import zarr  # takes half a second

    root = zarr.open(path, mode="r")
    if isinstance(root, zarr.Array):
        raise ValueError("a bare Zarr array; expected OME-Zarr, a group with multiscales")
    for group, suffix in _images(root, ""):
        yield _stack(group, suffix, large)


def _attributes(group: Any) -> Mapping[str, Any]:
    """Return what OME-Zarr says of a group, which stands under ``ome`` from 0.5 on."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _images(group: Any, suffix: str) -> Iterator[tuple[Any, str]]:
    """Yield the images of a group, and what tells each from the others."""
    attributes = _attributes(group)
    if "multiscales" in attributes:
        yield group, suffix
    elif "plate" in attributes:
        for well in attributes["plate"]["wells"]:
            yield from _images(group[well["path"]], f"_{well['path'].replace('/', '')}")
    elif "well" in attributes:
        fields = [image["path"] for image in attributes["well"]["images"]]
        for n, field in enumerate(fields, 1):
            yield group[field], f"{suffix}_field{n}" if len(fields) > 1 else suffix
    else:  # one group for each series, numbered from 0
        series = [group[name] for name in sorted(filter(str.isdecimal, group.group_keys()), key=int)]
        if not series:
            raise ValueError("no multiscales, plate or series in the metadata; expected OME-Zarr")
        for n, image in enumerate(series, 1):
            yield image, f"_series{n}" if len(series) > 1 else suffix


def _stack(group: Any, suffix: str, large: float) -> Stack:
    """Return the full size of an image as a stack."""
    attributes = _attributes(group)
    multiscale = attributes["multiscales"][0]
    level = multiscale["datasets"][0]
    array: Any = group[level["path"]]
    given = multiscale.get("axes") or list(OLD_AXES[-array.ndim :])
    axes = [a if isinstance(a, dict) else {"name": a} for a in given]
    letters = [str(a["name"]).upper() for a in axes]
    sizes = {a: n for a, n in zip(letters, array.shape, strict=True) if a not in "YX"}
    channels = (attributes.get("omero") or {}).get("channels") or []
    names = [str(c.get("label") or "") for c in channels]
    photograph = tuple(str(c.get("color")).upper() for c in channels) == RGB and array.dtype == np.uint8
    colour = sizes.get("C") == 3 and photograph and not any(map(NUCLEAR.search, names))
    if colour:
        del sizes["C"]

    def read(position: Mapping[str, int]) -> Pixels:
        def region(rows: slice, columns: slice) -> np.ndarray:
            at = {"Y": rows, "X": columns, "C": slice(None), **position}
            part = np.asarray(array[tuple(at[a] for a in letters)])
            kept = [a for a in letters if isinstance(at[a], slice)]
            return part.transpose([kept.index(a) for a in "YXC" if a in kept])

        in_one = math.prod(array.chunks) * array.dtype.itemsize > SEGMENT
        height, width = (array.shape[letters.index(a)] for a in "YX")
        return image_by_region((height, width), region, math.inf if in_one else large)

    scale = _scale(level, array.ndim) * _scale(multiscale, array.ndim)
    unit = MICROMETRES.get(str(axes[letters.index("X")].get("unit", "")).lower(), 0.0)
    size = float(scale[letters.index("X")]) * unit or None
    return Stack(sizes, read, colour, () if colour else names, None, size, suffix)


def _scale(described: Mapping[str, Any], ndim: int) -> np.ndarray:
    """Return the scale along each axis that a level, or all of them, is described with."""
    transformations = described.get("coordinateTransformations") or []
    return np.prod([np.ones(ndim), *(t["scale"] for t in transformations if t["type"] == "scale")], axis=0)
