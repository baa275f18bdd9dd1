"""Planes of images, whatever file they lie in: stacks with named axes, and the images chosen of them.

Large planes stay in their files: what is sliced of them is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, product
from typing import NamedTuple, TypeAlias

import numpy as np

from nuclei.data.burned_in_marks import find_marks, paint_out
from nuclei.data.nuclear_intensity import (
    choose_grey_levels,
    find_colour_map,
    find_fill_values,
    most_nuclear,
)
from nuclei.data.preprocessing import COLOURS, choose_8_bits, is_grey
from nuclei.errors import UserError

SAMPLE = 12_000_000
"""Pixels by which the modality and the contrast of a larger image are judged."""
WINDOW = 768
"""Side in pixels of each of the four windows by which a larger image is judged: its channels, its zoom."""
JUDGED_WHOLE = 4 * WINDOW**2
"""Pixels of the largest image that is not judged by windows."""
BAND = 16_000_000
"""Pixels that are read at a time where every k-th pixel is wanted."""
Slices = tuple[slice, slice]
Read = Callable[[slice, slice], np.ndarray]
"""Returns the region within rows and columns, which have both ends and no step."""


class RegionImage:
    """An image of which regions are read when they are sliced, in the place of an array.

    ``image[rows, columns]`` is an array ``(h, w)`` or RGB ``(h, w, 3)``; the slices may have steps.
    ``np.asarray(image)`` is the whole image.

    Args:
        shape: ``(H, W)`` or ``(H, W, 3)``.
        sample: returns what ``sample_pixels`` does, if there is a quicker way than slicing.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        read: Read,
        sample: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.shape, self.dtype, self._read, self._sample = shape, dtype, read, sample
        self.ndim, self.size = len(shape), math.prod(shape)

    def __getitem__(self, key: slice | Slices) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        top, bottom, down = rows.indices(self.shape[0])
        left, right, across = columns.indices(self.shape[1])
        if (down, across) == (1, 1):
            return self._read(slice(top, bottom), slice(left, right))
        height = _band(right - left, down)
        bands = [
            # A copy, since a view would keep all pixels of the band.
            self._read(slice(start, min(start + height, bottom)), slice(left, right))[::down, ::across].copy()
            for start in range(top, max(bottom, top + 1), height)
        ]
        return np.concatenate(bands)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)

    @cached_property
    def sample(self) -> np.ndarray:
        """Every k-th pixel of every k-th row, read once; see ``sample_pixels``."""
        return self._sample() if self._sample else every_kth_pixel(self)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> RegionImage:
        """Return the image whose regions a function makes of those of this one, each pixel by itself."""
        shown = function(self._read(slice(0, 1), slice(0, 1)))
        return RegionImage(
            (*self.shape[:2], *shown.shape[2:]),
            shown.dtype,
            lambda rows, columns: function(self._read(rows, columns)),
            lambda: function(self.sample),
        )


Pixels: TypeAlias = np.ndarray | RegionImage
"""An image, in memory or not; both have ``shape``, ``dtype``, ``ndim``, ``size`` and slices of regions."""


def image_by_region(size: tuple[int, int], read: Read, large: float) -> Pixels:
    """Return the image of ``size`` (H, W) that ``read`` reads, at once if it has at most ``large`` pixels."""
    if size[0] * size[1] <= large:
        return read(slice(0, size[0]), slice(0, size[1]))
    corner = read(slice(0, 1), slice(0, 1))
    return RegionImage((*size, *corner.shape[2:]), corner.dtype, read)


def keep_rows(read: Read, width: int) -> Read:
    """Wrap a reader of regions so that it decodes whole rows and caches those it read last.

    For files in strips as wide as the image: windows side by side share their rows, which are decoded once.
    """
    kept: tuple[slice, np.ndarray] | None = None

    def region(rows: slice, columns: slice) -> np.ndarray:
        nonlocal kept
        if kept is None or kept[0] != rows:
            kept = rows, read(rows, slice(0, width))
        return kept[1][:, columns]

    return region


def combine(images: Iterator[Pixels], function: Callable[[Iterator[np.ndarray]], np.ndarray]) -> Pixels:
    """Return what a function makes of several images of one size, one after the other, pixel by pixel."""
    first = next(images)
    if isinstance(first, RegionImage):
        planes = [first, *images]
        return RegionImage(
            first.shape, first.dtype, lambda rows, columns: function(plane[rows, columns] for plane in planes)
        )
    return function(np.asarray(plane) for plane in chain([first], images))


def sample_pixels(image: Pixels) -> np.ndarray:
    """Return every k-th pixel of every k-th row, at most ``SAMPLE`` of them; of a small image all."""
    return image.sample if isinstance(image, RegionImage) else every_kth_pixel(image)


def every_kth_pixel(image: Pixels) -> np.ndarray:
    """Return what ``sample_pixels`` does, by slicing."""
    step = math.ceil(math.sqrt(max(1.0, image.shape[0] * image.shape[1] / SAMPLE)))
    return image[::step, ::step]


def _band(width: int, step: int) -> int:
    """Return how many rows to read at a time, a multiple of ``step``."""
    return max(512, BAND // max(width, 1)) // step * step


NUCLEAR = re.compile(
    r"dapi|hoechst|h33342|33342|33258|draq|syto|to-?pro|propidium|\bpi\b|7-?aad|nucle|histone|\bh2[ab]|\bh3\b"
    r"|\bdna|hematoxylin|haematoxylin",
    re.IGNORECASE,
)
"""Names of dyes and proteins that show nuclei."""
ALL = -1
"""Index of all colours of an RGB image together."""
UNNAMED = (
    "no name tells which channel shows nuclei; the one that looks most like them is taken, "
    "channel= takes another"
)
MOST_CHANNELS = 8
"""Number of pages up to which they may be channels."""
PAGES = "QI"
"""Axes whose meaning a file does not tell."""


@dataclass(frozen=True)
class PlaneSelection:
    """Which of a file's planes to take; numbers count from 1.

    Attributes:
        channel: name or number; None takes the one whose name is that of a nuclear dye, or else the one
            that looks most like nuclei.
        z: slice; None takes the maximum of all.
        t: time point; None takes all, each as an image of its own.
    """

    channel: str | int | None = None
    z: int | None = None
    t: int | None = None


EVERYTHING = PlaneSelection()


@dataclass(frozen=True)
class Stack:
    """Planes of one size.

    Attributes:
        sizes: number of planes along each axis, by its letter in the order of the file: ``T`` time, ``Z``
            slices, ``C`` channels, ``Q`` or ``I`` for pages of unknown meaning.
        read: returns the plane at a position on all axes: ``(H, W)`` of any type, or RGB ``(H, W, 3)``; a
            large one may stay in the file.
        colour: whether the planes are RGB.
        channels: names along ``C``; empty names where the file has none.
        nuclear: index of the channel that the file's other metadata, wavelengths or colours, tell to be the
            nuclear one.
        pixel_size: side of a pixel in µm, if the file tells it.
        suffix: tells the stack from others of the file.
        notes: what was left out of the file.
        warnings: what may be wrong with the file.
    """

    sizes: Mapping[str, int]
    read: Callable[[Mapping[str, int]], Pixels]
    colour: bool = False
    channels: Sequence[str] = ()
    nuclear: int | None = None
    pixel_size: float | None = None
    suffix: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceImage:
    """One image of a file.

    Attributes:
        suffix: tells the image from others of the file; empty where it is the only one.
        pixels: the values in the file: ``(H, W)``, or RGB ``(H, W, 3)``. Those of a large image may stay in
            the file, which is open until the next image is asked for.
        shown: what is segmented, ``uint8 (H, W)``, or RGB ``(H, W, 3)`` where the colours differ.
        channels: names of all channels of the image, unique; one where there is no choice.
        read_channel: returns the values ``(H, W)`` of a channel by its index, while the file is open.
        pixel_size: side of a pixel in µm, if the file tells it.
        notes: what was chosen.
        warnings: what may be wrong with the image.
    """

    suffix: str
    pixels: Pixels
    shown: Pixels
    channels: tuple[str, ...]
    read_channel: Callable[[int], Pixels]
    pixel_size: float | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def images_of(
    stack: Stack, selection: PlaneSelection, name: str, stored: bool = False
) -> Iterator[SourceImage]:
    """Yield the images of a stack that are selected: one for each time point, page, or other axis.

    With ``stored`` pixels stay as they are stored, as those of label maps must.

    Raises:
        UserError: there is no such channel, slice or time point, or numbers are complex; the message has the
            file's ``name``.
    """
    sizes = {axis: n for axis, n in stack.sizes.items() if n > 1}
    numbered = isinstance(selection.channel, int) and not stack.colour
    channel_axis = _pages(sizes) if numbered and "C" not in sizes else "C"
    names = _channel_names(stack, sizes.get(channel_axis, 1))
    rgb = stack.colour and channel_axis not in sizes
    colours = rgb and selection.channel is None
    index, note = (ALL, "") if colours else _choose_channel(names, selection.channel, stack.nuclear, name)
    slices = range(sizes.get("Z", 1))
    if selection.z is not None:
        slices = _one(slices, selection.z, "z", name)
    others = {axis: range(n) for axis, n in sizes.items() if axis not in ("Z", channel_axis)}
    if selection.t is not None:
        others["T"] = _one(others.get("T", range(1)), selection.t, "t", name)

    def read_channel(channel: int, at: Mapping[str, int]) -> Pixels:
        planes = ({**at, channel_axis: 0 if rgb else channel, "Z": z} for z in slices)
        whole = combine(
            (stack.read({axis: plane.get(axis, 0) for axis in stack.sizes}) for plane in planes), maximum
        )
        return _colour(whole, channel) if rgb and channel != ALL else whole

    doubts = list(stack.warnings)
    named = stack.nuclear is not None or any(map(NUCLEAR.search, names))
    if note and selection.channel is None and not named:
        first = {axis: indices[0] for axis, indices in others.items()}
        channels = [_without_fill(read_channel(n, first))[0] for n in range(len(names))]
        index = most_nuclear(_same_windows(channels))
        note = _describe(names, index)
        doubts.append(UNNAMED)
    chosen = [note] if note else []
    pages = len(others.get(_pages(sizes), ()))
    if 1 < pages <= MOST_CHANNELS and not stack.colour and "C" not in sizes:
        chosen.append(f"its {pages} pages are separate images, channel=1 to {pages} takes one as a channel")
    if selection.z is not None:
        chosen += [f"slice {selection.z} of {sizes['Z']}"] if "Z" in sizes else []
    elif len(slices) > 1:
        chosen.append(f"maximum of {len(slices)} slices")
    for position in product(*others.values()):
        at = dict(zip(others, position, strict=True))
        read = partial(read_channel, at=at)
        values = read(index)
        if values.dtype.kind not in "buif":
            raise UserError(f"{name} has numbers of type {values.dtype}; save their magnitude or real part")
        pixels, shown, notes, warning = show(values, stored)
        grey = colours and pixels.ndim == 2
        number = "".join(f"_{_word(axis)}{n + 1}" for axis, n in at.items() if len(others[axis]) > 1)
        yield SourceImage(
            stack.suffix + number,
            pixels,
            shown,
            ("grey",) if grey else names,
            (lambda _, pixels=pixels: pixels) if grey else read,  # type: ignore[misc]
            stack.pixel_size,
            (*stack.notes, *chosen, *notes),
            (*doubts, warning) if warning else tuple(doubts),
        )


class Shown(NamedTuple):
    """The values of an image, what is segmented of it, notes of what was chosen, and a warning or none."""

    pixels: Pixels
    shown: Pixels
    notes: tuple[str, ...]
    warning: str


def show(pixels: Pixels, stored: bool = False) -> Shown:
    """Bring the values of an image to the 8 bits that are segmented; a sample of a large image decides.

    Images in equal colours, or in those of a colour map, become grey. Numbers that stand for no value become
    NaN. Scale bars, captions, lines and margins are painted out. With ``stored`` the values stay as they are
    stored, for label maps.
    """
    pixels, notes = (pixels, ()) if stored else _without_fill(pixels)
    sample = sample_pixels(pixels)
    levels = choose_8_bits(sample)[0](sample)
    if sample.ndim == 3 and is_grey(levels):
        pixels, sample, levels = _colour(pixels, 0), sample[..., 0], levels[..., 0]
    marks = None if stored else find_marks(levels)
    if marks and marks.notes and sample.dtype != bool:
        sample = sample.copy()
        drawn = marks.mask > 0
        sample[drawn] = np.nanmedian(sample[~drawn], axis=0).astype(sample.dtype)
    convert, warning = choose_grey_levels(sample)
    if warning and sample.shape != pixels.shape:
        warning = f"in a sample of the image: {warning}"
    shown = _map(pixels, convert)
    if not marks:
        return Shown(pixels, shown, (), warning)
    notes += marks.notes
    if marks.notes:
        shown = _painted(shown, marks.mask)
    if shown.ndim == 3 and (found := find_colour_map(sample_pixels(shown))):
        intensities, name = found
        pixels = shown = _map(shown, intensities)
        notes += (f"intensities of the colour map {name}",)
    return Shown(pixels, shown, notes, warning)


def _without_fill(image: Pixels) -> tuple[Pixels, tuple[str, ...]]:
    """Return an image with NaN for ``find_fill_values``, and a note of it."""
    fills = find_fill_values(sample_pixels(image)) if image.dtype.kind == "f" else []
    if not fills:
        return image, ()
    note = f"pixels of {' and '.join(format(fill, 'g') for fill in fills)} taken for no values"
    return _map(image, lambda part: np.where(np.isin(part, fills), part.dtype.type(np.nan), part)), (note,)


def busiest_windows(image: Pixels, side: int = WINDOW) -> list[Slices]:
    """Return the four windows of an image with the greatest contrast, which may overlap at its edges."""
    height, width = (max(1, min(side, n // 2)) for n in image.shape[:2])
    rows, columns = (
        np.linspace(0, n - size, -(-n // size)).astype(int).tolist()
        for n, size in zip(image.shape[:2], (height, width), strict=True)
    )
    windows = [(slice(y, y + height), slice(x, x + width)) for y in rows for x in columns]
    windows.sort(key=lambda w: -float(image[w][::8, ::8].std()))
    return (windows * 4)[:4]


def _same_windows(images: Sequence[Pixels]) -> list[np.ndarray]:
    """Return the same windows of several images of one size, at full resolution; small images are whole."""
    if images[0].shape[0] * images[0].shape[1] <= JUDGED_WHOLE:
        return [np.asarray(image) for image in images]
    windows = busiest_windows(images[0])
    return [np.concatenate([image[window] for window in windows]) for image in images]


def _colour(image: Pixels, index: int) -> Pixels:
    """Return one colour of an RGB image."""
    if isinstance(image, RegionImage):
        return image.map(lambda part: part[..., index])
    return np.ascontiguousarray(image[..., index])


def _map(image: Pixels, function: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    """Return what a function makes of each pixel."""
    return image.map(function) if isinstance(image, RegionImage) else function(image)


def _painted(image: Pixels, mask: np.ndarray) -> Pixels:
    """Return an image without what a mask covers; that of a large image is as large as its sample."""
    step = -(-image.shape[0] // mask.shape[0])
    ground = np.median(sample_pixels(image)[mask == 0], axis=0).astype(np.uint8)

    def read(rows: slice, columns: slice) -> np.ndarray:
        places = (np.arange(n.start, n.stop) // step for n in (rows, columns))
        return paint_out(image[rows, columns], mask[np.ix_(*places)], ground)

    if not isinstance(image, RegionImage):
        return read(slice(0, image.shape[0]), slice(0, image.shape[1]))
    return RegionImage(image.shape, image.dtype, read, lambda: paint_out(image.sample, mask, ground))


def maximum(planes: Iterator[np.ndarray]) -> np.ndarray:
    """Return the greatest value of each pixel; NaN only where all are."""
    highest = next(planes)
    for plane in planes:
        highest = np.fmax(highest, plane)
    return highest


def _pages(sizes: Mapping[str, int]) -> str:
    """Return the axis that a channel's number means in a file without channels."""
    return next((axis for axis in PAGES if axis in sizes), "C")


def _word(axis: str) -> str:
    return "page" if axis in PAGES else axis.lower()


def _one(numbers: range, number: int, setting: str, name: str) -> range:
    """Return the one index that a number, counted from 1, means."""
    if not 1 <= number <= len(numbers):
        raise UserError(f"{name}: {setting}={number}; expected 1 to {len(numbers)}")
    return range(number - 1, number)


def _channel_names(stack: Stack, count: int) -> tuple[str, ...]:
    """Return unique names of the channels, as they can stand in a table's header."""
    if stack.colour and count == 1:
        return COLOURS
    names: list[str] = []
    for n in range(count):
        name = (stack.channels[n].strip() if n < len(stack.channels) else "") or f"channel{n + 1}"
        names.append(name if name not in names else f"{name}_{n + 1}")
    return tuple(names)


def _choose_channel(
    names: Sequence[str], wanted: str | int | None, nuclear: int | None, name: str
) -> tuple[int, str]:
    """Return the index of a channel, and a note of the choice; empty where there is none.

    Raises:
        UserError: no channel, or several, have such a name.
    """
    if len(names) == 1 and wanted in (None, 1):
        return 0, ""
    if wanted is None:
        named = next((n for n, known in enumerate(names) if NUCLEAR.search(known)), nuclear)
        return named or 0, _describe(names, named or 0)
    text = str(wanted).lower()
    fits = [wanted - 1] if isinstance(wanted, int) and 1 <= wanted <= len(names) else []
    fits = fits or [n for n, known in enumerate(names) if known.lower() == text]
    part = re.compile(rf"(?<!\d){text}(?!\d)" if text.isdecimal() else re.escape(text))
    fits = fits or [n for n, known in enumerate(names) if part.search(known.lower())]
    if len(fits) != 1:
        problem = "there is no such one" if not fits else "several have such a name"
        raise UserError(f"{name}: channel={wanted}: {problem} of 1 to {len(names)}: {', '.join(names)}")
    return fits[0], _describe(names, fits[0])


def _describe(names: Sequence[str], index: int) -> str:
    return f"channel {index + 1} of {len(names)}: {names[index]} of {', '.join(names)}"


def channel_of(image: np.ndarray, channel: str | int) -> np.ndarray:
    """Return a channel ``(H, W)`` of an array ``(C, H, W)`` or ``(H, W, C)``; see ``PlaneSelection``.

    Raises:
        ValueError: the array has other than three axes.
        UserError: there is no such channel.
    """
    if image.ndim != 3:
        raise ValueError(f"channel={channel}: expected an array (C, H, W) or (H, W, C), got {image.shape}")
    last = image.shape[2] <= image.shape[0]
    colour = last and image.shape[2] in (3, 4)
    numbered = tuple(f"channel{n + 1}" for n in range(image.shape[2 if last else 0]))
    names = (*COLOURS, *numbered[3:]) if colour else numbered
    index = _choose_channel(names, channel, None, "the image")[0]
    return image[..., index] if last else image[index]
