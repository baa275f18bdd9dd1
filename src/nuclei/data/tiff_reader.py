"""Read TIFF files of all kinds as stacks with named axes: ImageJ, OME, slides with pyramids, plain pages."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from nuclei.data.image_stacks import Pixels, Stack, image_by_region, keep_rows
from nuclei.errors import UserError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGEST = 2**30
"""Pixels of the largest plane that is read at once."""
SEGMENT = 2**28
"""Bytes of the largest strip or tile, decoded, for which regions are read; others are read whole."""
ASIDE = re.compile(r"\s*(label|macro|thumbnail|overview|slide)\b", re.IGNORECASE)
"""Begin of the descriptions of pictures that whole-slide files hold beside the image."""
ASIDE_IN_OME = re.compile(r"\s*(label|macro|thumbnail|overview|slide)( image)?\s*\d*\s*", re.IGNORECASE)
"""Names of such pictures in OME files, where a series may be called Slide 1 ROI 2 too."""
CENTRE = 1024
"""Half of the side in pixels of the square by which the colours of a large page are judged."""
SHADES = 200
"""Least number of colours of a look-up table that is no ramp of one colour."""
SHADE = 16 * 257
"""Most by which red, green or blue of such a table change from one of its colours to the next."""
COARSEST = 20.0
"""Side in µm of the largest pixel that is no printer's dot; 72 dots per inch are 353 µm."""
MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("inch", "in"), 25400.0),
}
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it logs of odd tags concerns nobody


class PartOfSet(UserError):
    """A file whose planes are read with another file of the same set, the ``first``."""

    def __init__(self, file: Path, first: Path) -> None:
        super().__init__(f"{file} is read with {first.name}, which is of the same set")
        self.file, self.first = file, first


def read_tiff(
    path: Path, large: float = math.inf, stored: bool = False, alone: bool = False
) -> Iterator[Stack]:
    """Yield each series of a TIFF file, open until the next one is asked for.

    Of pyramids only the full size is taken, and no label, macro or thumbnail picture.

    Args:
        large: number of pixels above which planes are read by region.
        stored: whether grey planes keep the file's numbers, which say what a label is, where a tag or a
            look-up table shows large ones dark.
        alone: whether the other files of a set, which an OME file names, stay shut.

    Raises:
        PartOfSet: the file belongs to a set of OME files, which is read with the first of them.
        UserError: a plane is too large.
    """
    with tifffile.TiffFile(path, _multifile=not alone) as tif:
        series, notes = _wanted(list(tif.series))
        if not series:
            raise ValueError("there is no page in it")
        planes = sum(s.size // max(1, s.keyframe.size) for s in tif.series)
        if (named := imagej_planes(tif)) > planes:
            raise ValueError(f"the file is cut short: it names {named} planes and has {planes}")
        if tif.is_ome and (first := _first_file(series)) not in ("", path.name):
            raise PartOfSet(path, path.with_name(first))
        for number, one in enumerate(series, 1):
            word = "series" if one.kind == "ome" else "page"
            suffix = f"_{word}{number}" if len(series) > 1 else ""
            if _has_channels_last(one):
                yield _channels_last(one, suffix, notes)
            else:
                yield _stack(tif, one, suffix, notes, large, stored)


def _has_channels_last(series: tifffile.TiffPageSeries) -> bool:
    """Return whether an array (H, W, C) was saved by tifffile as H pages, each W x C."""
    shape = series.shape
    return series.kind == "shaped" and series.axes[1:] == "YX" and shape[2] <= 8 < min(shape[:2])


def _channels_last(series: tifffile.TiffPageSeries, suffix: str, notes: tuple[str, ...]) -> Stack:
    """Return the channels of an array (H, W, C)."""
    values = series.asarray()
    said = f"its {series.shape[0]} pages of {series.shape[1]} x {series.shape[2]} pixels are rows"
    return Stack({"C": series.shape[2]}, lambda at: values[..., at["C"]], suffix=suffix, notes=(*notes, said))


def _first_file(series: Sequence[tifffile.TiffPageSeries]) -> str:
    """Return the name of the first file that holds pages of OME series; empty where there is no page."""
    pages = (page for one in series for page in one.pages if page is not None)
    return min({page.parent.filehandle.name for page in pages}, default="")


def imagej_planes(tif: tifffile.TiffFile) -> int:
    """Return the number of planes that ImageJ's description names, which may have one header; else 1."""
    return int((tif.imagej_metadata or {}).get("images", 1)) if tif.is_imagej else 1


def _wanted(series: list[tifffile.TiffPageSeries]) -> tuple[list[tifffile.TiffPageSeries], tuple[str, ...]]:
    """Return the series that are images of their own, and a note of the others."""
    largest = max(map(_size, series), default=0)
    images = [s for s in series if not _is_aside(s, largest)] or series
    images = [s for s in images if not int(getattr(s.keyframe, "subfiletype", 0)) & 1] or images
    if len(images) > 1:
        first = max(images, key=_size)  # in OME files each series is an image, and has its levels in itself
        levels = len(first.levels) > 1 or any(s is not first and _is_level(s, first) for s in images)
        if first.kind != "ome" and levels:
            images = [first]
    dropped = len(series) - len(images)
    names = ", ".join(s.name for s in series if s not in images and s.kind == "ome")
    note = f"{dropped} smaller copies or pictures of the slide left out{names and f': {names}'}"
    return images, (note,) if dropped else ()


def _is_aside(series: tifffile.TiffPageSeries, largest: int) -> bool:
    """Return whether a series is the label or the overview of a slide; in OME files, a small one."""
    if series.kind == "ome":
        return bool(ASIDE_IN_OME.fullmatch(series.name)) and _size(series) < largest
    return bool(ASIDE.match(series.name) or ASIDE.match(_description(series)))


def _size(series: tifffile.TiffPageSeries) -> int:
    return int(series.keyframe.imagewidth * series.keyframe.imagelength)


def _description(series: tifffile.TiffPageSeries) -> str:
    return str(getattr(series.keyframe, "description", "") or "")


def _is_level(small: tifffile.TiffPageSeries, large: tifffile.TiffPageSeries) -> bool:
    """Return whether a series has a half, a quarter, and so on of another's size."""
    a, b = large.keyframe, small.keyframe
    factor = 2 ** round(np.log2(a.imagewidth / b.imagewidth))
    sides = (a.imagewidth, b.imagewidth), (a.imagelength, b.imagelength)
    alike = a.samplesperpixel == b.samplesperpixel and len(small.pages) == len(large.pages)
    return factor > 1 and alike and all(abs(m / factor - n) <= 1 for m, n in sides)


def _stack(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    suffix: str,
    notes: tuple[str, ...],
    large: float,
    stored: bool,
) -> Stack:
    """Return one series as a stack."""
    page = series.keyframe
    axes = _leading_axes(series)
    sizes = dict(zip(axes, series.shape, strict=False))
    alphas = _alphas(page)
    signal_in_alpha = bool(alphas) and _is_signal_in_alpha(tif, series, large)
    samples = 1 if signal_in_alpha else page.samplesperpixel - alphas
    palette = _photometric(page) == "PALETTE" and _ramp(page.colormap) == 0
    colour = palette or (samples >= 3 and _photometric(page) in ("RGB", "YCBCR", "SEPARATED", "CIELAB"))
    if not colour and samples > 1:
        sizes["C"] = samples
    sizes |= {axis: n for axis, n in zip(page.axes, page.shape, strict=True) if axis not in "YXS"}

    def read(position: Mapping[str, int]) -> Pixels:
        at = tuple(position[a] for a in axes)
        read_slices = (_slices if _size(series) > large else _whole)(tif, series, at)

        def region(rows: slice, columns: slice) -> np.ndarray:
            # Each axis of the page but rows, columns and samples is in the position too.
            slices = {"Y": rows, "X": columns, "S": slice(None)}
            part = read_slices(tuple(slices[a] if a in slices else position[a] for a in page.axes))
            letters = [a for a in page.axes if a in "YXS"]
            if letters != ["Y", "X", "S"] and "S" in letters:
                part = np.moveaxis(part, letters.index("S"), -1)
            if colour:
                return _rgb(part, page)
            if signal_in_alpha:
                return part[..., -alphas]
            if part.ndim == 3:
                part = part[..., position["C"] if samples > 1 and "C" not in axes else 0]
            return part if stored and part.dtype != bool else _grey(part, page)

        size = page.imagelength, page.imagewidth
        return image_by_region(size, region if page.is_tiled else keep_rows(region, size[1]), large)

    names, nuclear = _channels(tif, series, sizes.get("C", 1))
    pixel_size, uneven = _pixel_size(tif, series)
    warnings = [uneven] if uneven else []
    if series.kind == "ome" and (missing := sum(one is None for one in series.pages)):
        warnings.append(f"{missing} of {len(series.pages)} planes that the file names are missing, and black")
    further = page.samplesperpixel - 3 - _opacities(page)
    if colour and further > 0 and _photometric(page) == "RGB":
        notes = (*notes, f"{further} further samples beside red, green and blue left out")
    return Stack(sizes, read, colour, names, nuclear, pixel_size, suffix, notes, tuple(warnings))


ReadSlices = Callable[[tuple[slice | int, ...]], np.ndarray]
"""Returns the part of a page that slices, one for each of its axes, cut out."""


def _slices(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, at: tuple[int, ...]) -> ReadSlices:
    """Return what reads slices of the page at a position on the leading axes, each when it is asked for.

    Pages whose strips or tiles are too large for that are read at once.

    Raises:
        ValueError: the file ends before the page's pixels do.
        UserError: the page is too large to be read at once.
    """
    keyframe = series.keyframe
    page, index = _checked_page(tif, series, at)
    dtype = np.dtype(series.dtype).newbyteorder(keyframe.parent.byteorder)
    offset = None if series.dataoffset is None else series.dataoffset + index * keyframe.nbytes
    if page is not None:
        offset = page.dataoffsets[0] if len(page.dataoffsets) == 1 else None
    if offset is not None and keyframe.is_memmappable:  # mapped for each slice, so that no memory is taken
        path = (page or keyframe).parent.filehandle.path
        return lambda key: np.array(np.memmap(path, dtype, "r", offset, keyframe.shape)[key], series.dtype)
    if math.prod(keyframe.chunks) * dtype.itemsize > SEGMENT:
        return _whole(tif, series, at)
    import zarr  # takes half a second

    array = zarr.open_array(series.aszarr(level=0), mode="r")
    return lambda key: np.asarray(array[(*at, *key)])


def _whole(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, at: tuple[int, ...]) -> ReadSlices:
    """Return what ``_slices`` returns, of a page that is read at once."""
    keyframe = series.keyframe
    if (pixels := _size(series)) > LARGEST:
        raise UserError(
            f"{tif.filehandle.path} has {keyframe.imagewidth} x {keyframe.imagelength} = {pixels / 1e9:.1f} "
            "billion pixels; at most 1.07 billion are read in one piece: save it in tiles, crop it or export "
            "a lower level"
        )
    page, index = _checked_page(tif, series, at)
    if page is not None:
        page.parent.filehandle.open()  # that of another file of a set is shut
        return page.asarray().__getitem__
    if _has_directories(series):  # a plane that an OME file declares and does not have
        return np.zeros(keyframe.shape, series.dtype).__getitem__
    return np.array(series.asarray(out="memmap").reshape(-1, *keyframe.shape)[index]).__getitem__


def _checked_page(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, at: tuple[int, ...]
) -> tuple[tifffile.TiffPage | tifffile.TiffFrame | None, int]:
    """Return the page at a position on the leading axes, and its index.

    It is None where only the first page has a directory, as in ImageJ's files over 4 GB, or where it is
    missing.

    Raises:
        ValueError: the file ends before the page's pixels do.
    """
    index = int(np.ravel_multi_index(at, series.shape[: len(at)])) if at else 0
    if not _has_directories(series):
        if series.dataoffset is not None and series.dataoffset + series.nbytes > tif.filehandle.size:
            raise ValueError("the file is cut short")
        return None, index
    page = series.pages[index]
    if page is not None and any(
        o + n > page.parent.filehandle.size
        for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)
    ):
        raise ValueError("the file is cut short")
    return page, index


def _has_directories(series: tifffile.TiffPageSeries) -> bool:
    """Return whether each page has a directory of its own in the file."""
    return len(series.pages) == math.prod(series.shape[: len(_leading_axes(series))])


def _leading_axes(series: tifffile.TiffPageSeries) -> str:
    """Return the axes along which the pages of a series stand."""
    return series.axes[: len(series.axes) - len(series.keyframe.axes)]


def _photometric(page: tifffile.TiffPage) -> str:
    return tifffile.PHOTOMETRIC(page.photometric).name


def _alphas(page: tifffile.TiffPage) -> int:
    """Return the number of samples that are opacity; of RGB with a fourth sample also an unnamed one."""
    unnamed = _photometric(page) == "RGB" and page.samplesperpixel == 4 and not _opacities(page)
    return _opacities(page) or int(unnamed)


def _is_signal_in_alpha(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, large: float) -> bool:
    """Return whether opacity alone tells the pixels of the first page apart; of a large page, its centre."""
    page = series.keyframe
    at = (0,) * len(_leading_axes(series))
    whole = _size(series) <= large
    centre = {
        axis: slice(None) if whole else slice(max(0, n // 2 - CENTRE), n // 2 + CENTRE)
        for axis, n in (("Y", page.imagelength), ("X", page.imagewidth))
    }
    pixels = (_whole if whole else _slices)(tif, series, at)(
        tuple(centre.get(axis, slice(None)) for axis in page.axes)
    )
    samples = np.moveaxis(pixels, page.axes.index("S"), 0)
    alphas = _alphas(page)
    colours = samples[:-alphas].reshape(len(samples) - alphas, -1)
    return bool(np.ptp(samples[-alphas])) and bool((colours == colours[:, :1]).all())


def _opacities(page: tifffile.TiffPage) -> int:
    """Return the number of samples that are named opacity."""
    return sum(int(kind) in (1, 2) for kind in page.extrasamples)


def _ramp(colormap: np.ndarray | None) -> int:
    """Return 1 where a palette shows large values light, -1 where dark, 0 where it is a list of colours.

    In the look-up table of an image of intensities each colour is much like the next, but for the first and
    the last, by which some tables mark what is out of range.
    """
    if colormap is None:
        return 1
    colours = np.asarray(colormap, float).T
    steps = np.diff(colours.sum(axis=1))
    if (steps >= 0).all() or (steps <= 0).all():
        return 1 if (steps >= 0).all() else -1
    inner = colours[1:-1]
    if len(inner) < SHADES or np.abs(np.diff(inner, axis=0)).max() > SHADE:
        return 0
    return 1 if inner[0].sum() <= inner[-1].sum() else -1


def _rgb(plane: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Return RGB ``(H, W, 3)`` of a page in colours of any kind."""
    if _photometric(page) == "PALETTE":
        return np.moveaxis((np.asarray(page.colormap)[:, plane] >> 8).astype(np.uint8), 0, -1)
    if _photometric(page) == "SEPARATED" and plane.shape[-1] >= 4:
        top = int(np.iinfo(plane.dtype).max)
        ink = plane[..., :3].astype(np.int64) + plane[..., 3:4]
        return (top - np.minimum(ink, top)).astype(plane.dtype)
    return plane[..., :3]


def _grey(plane: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Return a page with large values bright."""
    darker = _photometric(page) == "PALETTE" and _ramp(page.colormap) < 0
    if _photometric(page) != "MINISWHITE" and not darker:
        return plane
    if plane.dtype == bool:
        return ~plane
    return np.iinfo(plane.dtype).max - plane if plane.dtype.kind == "u" else -plane


def _channels(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int
) -> tuple[Sequence[str], int | None]:
    """Return the names of the channels, and which the other metadata tell to be the nuclear one."""
    if pixels := _ome_pixels(tif, series):
        channels = _list(pixels.get("Channel"))
        dyes = [str(c.get("Fluor") or "") for c in channels]  # tifffile makes numbers of those like 405
        names = [str(c.get("Name") or dye) for c, dye in zip(channels, dyes, strict=True)]
        names = [name if dye in name else f"{name} {dye}" for name, dye in zip(names, dyes, strict=True)]
        waves = [float(c.get("EmissionWavelength") or 0) for c in channels]
        blue = [n for n, wave in enumerate(waves) if 400 <= wave <= 480] or [
            n for n, c in enumerate(channels) if _is_blue(*_rgb_of_ome(c.get("Color")))
        ]
        return names, blue[0] if len(blue) == 1 else None
    if count == 1:
        return (), None
    metadata = tif.imagej_metadata or {}
    if (labels := [str(label) for label in _list(metadata.get("Labels"))]) and len(labels) >= count:
        lead = _leading_axes(series)
        stride = math.prod(series.shape[lead.index("C") + 1 : len(lead)]) if "C" in lead else 1
        return [labels[min(n * stride, len(labels) - 1)].split("\n")[0] for n in range(count)], None
    blues = [n for n, lut in enumerate(_list(metadata.get("LUTs"))) if _is_blue(*lut[:, -1])]
    if tif.is_qpi:
        pages = [getattr(p, "description", "") for p in tif.pages[:count]]
        found = [re.search(r"<(?:Biomarker|Name)>([^<]+)<", str(text)) for text in pages]
        return [match[1] if match else "" for match in found], None
    if summary := (tif.micromanager_metadata or {}).get("Summary"):
        return [str(name) for name in _list(summary.get("ChNames"))], None
    return (), blues[0] if len(blues) == 1 else None


def _is_blue(red: int, green: int, blue: int) -> bool:
    return blue > 128 > max(red, green)


def _rgb_of_ome(colour: Any) -> bytes:
    """Return red, green and blue of an OME colour, RGBA in a signed 32-bit number."""
    return (int(colour or 0) & 0xFFFFFFFF).to_bytes(4, "big")[:3]


def _ome_pixels(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
    """Return what an OME file says of the pixels of a series; empty for other files."""
    if series.kind != "ome" or not tif.ome_metadata:
        return {}
    images = _list(tifffile.xml2dict(tif.ome_metadata).get("OME", {}).get("Image"))
    index = min(next(n for n, one in enumerate(tif.series) if one is series), len(images) - 1)
    pixels = images[index].get("Pixels") if images else None
    return pixels if isinstance(pixels, dict) else {}


def _list(value: Any) -> list[Any]:
    """Return one or several values as a list."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _pixel_size(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float | None, str]:
    """Return the side of a pixel in µm, if the file tells it, and a warning where pixels are not square."""
    width, height = (_pixel_side(tif, series, axis) for axis in "XY")
    if width and height and abs(width / height - 1) > 0.01:
        return None, f"pixels of {width:.4g} x {height:.4g} µm are not square: no lengths in µm are given"
    return width, ""


def _pixel_side(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, axis: str) -> float | None:
    """Return the width (``X``) or height (``Y``) of a pixel in µm, if the file tells it."""
    if pixels := _ome_pixels(tif, series):
        size = float(pixels.get(f"PhysicalSize{axis}") or 0)
        return size * MICROMETRES.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).lower(), 0) or None
    page = series.keyframe
    if aperio := re.search(r"\bMPP\s*=\s*([\d.]+)", _description(series)):
        return float(aperio[1]) or None
    if (tag := page.tags.get(f"{axis}Resolution")) is None or not tag.value[0] or not tag.value[1]:
        return None
    each = tag.value[1] / tag.value[0]
    if tif.is_imagej:
        metadata = tif.imagej_metadata or {}
        unit = metadata.get("yunit" if axis == "Y" and "yunit" in metadata else "unit", "")
        return each * MICROMETRES.get(str(unit).lower(), 0) or None
    unit = page.tags.get("ResolutionUnit")
    size = each * {2: 25400.0, 3: 1e4}.get(int(unit.value) if unit else 2, 0.0)
    return size if 0 < size < COARSEST else None
