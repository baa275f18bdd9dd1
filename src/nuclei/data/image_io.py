"""The pixels of image files: PNG, JPEG and similar formats by OpenCV, TIFF by tifffile, OME-Zarr by zarr.

Other formats are read by bioio, where it is installed.

One rule of orientation: images and their labels lie as the file stores them; no tag turns them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageSequence

from nuclei.data.image_stacks import (
    EVERYTHING,
    NUCLEAR,
    Pixels,
    PlaneSelection,
    SourceImage,
    Stack,
    image_by_region,
    images_of,
)
from nuclei.data.preprocessing import is_grey, to_8_bits
from nuclei.data.tiff_reader import MAGIC, MICROMETRES, SEGMENT, read_tiff
from nuclei.errors import UserError

PLAIN = ".png .jpg .jpeg .jpe .bmp .gif .webp .jp2 .j2k .jxl .avif .pgm .ppm"
TIFF = ".tif .tiff .btf .tf8 .lsm .svs .ndpi .scn .bif .qptiff .stk"
SUFFIXES = (*PLAIN.split(), *TIFF.split())
"""Endings of the files that are read."""
WITH_BIOIO = {".czi": "bioio-czi", ".nd2": "bioio-nd2", ".lif": "bioio-lif"}
"""Endings of files that are read where a further package is installed."""
ZARR = ".zarr"
"""Ending of the folders that are read as one file: OME-Zarr."""
READABLE = (*SUFFIXES, *WITH_BIOIO, ZARR)
"""Endings of all of them."""
OLD_AXES = "tczyx"
"""Axes of OME-Zarr before NGFF 0.3, which does not name them."""
PHOTOGRAPH = ("FF0000", "00FF00", "0000FF")
"""Colours of the channels of a photograph, in OME-Zarr."""
# OpenCV's own lines on damaged files say less than the error that follows.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_images(
    file: Path,
    selection: PlaneSelection = EVERYTHING,
    large: float = math.inf,
    stored: bool = False,
    alone: bool = False,
) -> Iterator[SourceImage]:
    """Yield the images of a file: one, or one for each page or time point.

    Args:
        file: of any kind in ``READABLE``.
        large: number of pixels above which TIFF and OME-Zarr are read by region; see ``RegionImage``.
        stored: whether numbers stay as they are stored, for label maps; see ``read_tiff``.
        alone: whether no other file is opened that this one names.

    Raises:
        PartOfSet: the file is read with another one; see ``read_tiff``.
        UserError: the file cannot be read, is damaged or no image, or lacks what is selected.
    """
    try:
        empty = True
        for stack in _stacks(file, large, stored, alone):
            for image in images_of(stack, selection, str(file), stored):
                empty = False
                yield image
        if empty:
            raise ValueError("there is no image in it")
    except UserError:
        raise
    except OSError as e:
        raise UserError(f"cannot read {file}: {e.strerror or e}") from e
    except Exception as e:  # readers fail in many ways on bytes that they do not expect
        raise UserError(f"{file} is damaged or no image that can be read: {_one_line(e)}") from e


def read_image(
    file: Path, channel: str | int | None = None, z: int | None = None, t: int | None = None
) -> SourceImage:
    """Read the first, or the selected, image of a file; see ``read_images`` and ``PlaneSelection``."""
    return next(read_images(file, PlaneSelection(channel, z, t)))


def _stacks(file: Path, large: float, stored: bool, alone: bool) -> Iterator[Stack]:
    """Yield what a file holds; its first bytes tell more than its name."""
    if file.suffix.lower() == ZARR:
        yield from _zarr_stacks(file, large)
        return
    if file.suffix.lower() in WITH_BIOIO:
        yield from _bioio_stacks(file)
        return
    with open(file, "rb") as f:
        head = f.read(8)
    if head.startswith(MAGIC):
        yield from read_tiff(file, large, stored, alone)
        return
    frames = _frames(file.read_bytes(), str(file))
    yield Stack({"I": len(frames)}, lambda at: frames[at["I"]], frames[0].ndim == 3)


def _frames(data: bytes, name: str) -> list[np.ndarray]:
    """Decode a file that is no TIFF: each frame ``(H, W)`` or RGB ``(H, W, 3)``, of any depth.

    Raises:
        UserError: ``data`` is no image, or is damaged.
    """
    if _is_animated(data):  # OpenCV reads the first frame alone
        return _pillow_frames(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as e:
        raise UserError(f"{name} cannot be decoded; it is damaged or has over 1.07 billion pixels") from e
    if image is not None:
        return [_rgb_of_bgr(image)]
    if not data or data.startswith((b"\x89PNG", b"\xff\xd8\xff")):  # others read half of a damaged one
        raise UserError(f"{name} is damaged or no image; replace it")
    with suppress(Exception):  # Pillow and imagecodecs fail in many ways on what is no image
        return _pillow_frames(data)
    with suppress(Exception):
        import imagecodecs  # Kaggle's notebooks lack it, and need it not

        return [_without_alpha(np.asarray(imagecodecs.imread(data)))]
    raise UserError(f"{name} is no image; expected one of {', '.join(SUFFIXES)}")


def _is_animated(data: bytes) -> bool:
    """Return whether the head of a file says that it may hold several frames: GIF, WebP, PNG or AVIF."""
    webp = data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and any(byte & 2 for byte in data[20:21])
    png = data[:4] == b"\x89PNG" and b"acTL" in data[: max(0, data.find(b"IDAT"))]
    return data[:4] == b"GIF8" or webp or png or data[4:12] == b"ftypavis"


def _pillow_frames(data: bytes) -> list[np.ndarray]:
    """Decode all frames of what Pillow reads."""
    with Image.open(io.BytesIO(data)) as image:
        return [_pillow_frame(frame) for frame in ImageSequence.Iterator(image)]


def _pillow_frame(frame: Image.Image) -> np.ndarray:
    """Return a frame ``(H, W)`` or RGB ``(H, W, 3)``, of 16 bits as it is."""
    if frame.mode.startswith("I"):
        return np.array(frame)
    return _without_alpha(np.asarray(frame.convert("RGBA" if frame.mode in ("RGBA", "LA") else "RGB")))


def _rgb_of_bgr(image: np.ndarray) -> np.ndarray:
    """Return what OpenCV decoded as ``(H, W)`` or RGB ``(H, W, 3)`` without alpha."""
    rest = _without_alpha(image)
    return np.ascontiguousarray(rest[..., ::-1] if rest.ndim == 3 else rest)


def _without_alpha(image: np.ndarray) -> np.ndarray:
    """Return an image ``(H, W, C)`` without alpha; where only alpha tells pixels apart, that alone."""
    if image.ndim == 2:
        return image
    n = 3 if image.shape[2] > 2 else 1
    colours, alpha = image[..., :n], image[..., n : n + 1]
    if alpha.size and np.ptp(alpha) and (colours == colours[0, 0]).all():
        return alpha[..., 0]
    return colours if n == 3 else colours[..., 0]


def _bioio_stacks(file: Path) -> Iterator[Stack]:
    """Yield the scenes of a microscope's own format.

    Raises:
        UserError: the package that reads the format is missing.
    """
    package = WITH_BIOIO[file.suffix.lower()]
    try:
        bioio, reader = import_module("bioio"), import_module(package.replace("-", "_"))
    except ImportError as e:
        raise UserError(
            f"{file}: {file.suffix} files need further packages: pip install bioio {package}, "
            "or export the file as OME-TIFF"
        ) from e
    source: Any = bioio.BioImage(file, reader=reader.Reader)
    for number, scene in enumerate(source.scenes, 1):
        source.set_scene(scene)
        sizes = {axis: int(getattr(source.dims, axis)) for axis in source.dims.order if axis not in "YXS"}
        colour = "S" in source.dims.order

        def read(at: Mapping[str, int], colour: bool = colour) -> np.ndarray:
            plane = source.get_image_dask_data("YXS" if colour else "YX", **at).compute()
            return np.asarray(plane[..., :3])

        size = source.physical_pixel_sizes.X
        suffix = f"_scene{number}" if len(source.scenes) > 1 else ""
        yield Stack(sizes, read, colour, source.channel_names or (), None, size, suffix)


def _zarr_stacks(path: Path, large: float) -> Iterator[Stack]:
    """Yield each image of an OME-Zarr folder at its full size: NGFF 0.1 to 0.5, plates, Bio-Formats' series.

    Raises:
        ValueError: there is no image in it.
    """
    import zarr  # takes half a second

    root = zarr.open(path, mode="r")
    if isinstance(root, zarr.Array):
        raise ValueError("a bare Zarr array; expected OME-Zarr, a group with multiscales")
    for group, suffix in _zarr_images(root, ""):
        yield _zarr_stack(group, suffix, large)


def _ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return what OME-Zarr says of a group, which stands under ``ome`` from 0.5 on."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _zarr_images(group: Any, suffix: str) -> Iterator[tuple[Any, str]]:
    """Yield the images of a group, and what tells each from the others."""
    attributes = _ome_attributes(group)
    if "multiscales" in attributes:
        yield group, suffix
    elif "plate" in attributes:
        for well in attributes["plate"]["wells"]:
            yield from _zarr_images(group[well["path"]], f"_{well['path'].replace('/', '')}")
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


def _zarr_stack(group: Any, suffix: str, large: float) -> Stack:
    """Return the full size of an image as a stack."""
    attributes = _ome_attributes(group)
    multiscale = attributes["multiscales"][0]
    level = multiscale["datasets"][0]
    array: Any = group[level["path"]]
    given = multiscale.get("axes") or list(OLD_AXES[-array.ndim :])
    axes = [a if isinstance(a, dict) else {"name": a} for a in given]
    letters = [str(a["name"]).upper() for a in axes]
    sizes = {a: n for a, n in zip(letters, array.shape, strict=True) if a not in "YX"}
    channels = (attributes.get("omero") or {}).get("channels") or []
    names = [str(c.get("label") or "") for c in channels]
    shown_in = tuple(str(c.get("color")).upper() for c in channels)
    photograph = shown_in == PHOTOGRAPH and array.dtype == np.uint8
    if colour := sizes.get("C") == 3 and photograph and not any(map(NUCLEAR.search, names)):
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image: ``uint8 (H, W)`` when its channels are equal, else RGB ``uint8 (H, W, 3)``.

    Alpha is dropped; images of other depths become ``uint8`` by ``to_8_bits``.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file named in the message.
    """
    image = to_8_bits(_rgb_of_bgr(_decode(data, name, cv2.IMREAD_UNCHANGED)))[0]
    return np.ascontiguousarray(image[..., 0]) if image.ndim == 3 and is_grey(image) else image


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Decode an image to ``uint8 (H, W)``, colours averaged as OpenCV does; not 0 inside the mask.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file named in the message.
    """
    return _decode(data, f"mask {name}", cv2.IMREAD_GRAYSCALE)


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    with suppress(cv2.error):
        if data and (image := cv2.imdecode(np.frombuffer(data, np.uint8), flags)) is not None:
            return image
    raise UserError(f"{name} is damaged or no image; replace it or download the data again")
