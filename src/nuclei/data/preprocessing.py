"""What networks see of an image: nuclei bright on dark over the full range, whatever the microscope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

import numpy as np

from nuclei.errors import UserError

Preprocessing = Literal["nuclei", "nuclei_rgb", "grey", "plain", "rgb"]
Modality = Literal["fluorescence", "brightfield", "histology"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
Transform = Callable[[np.ndarray], np.ndarray]
COLOURS = ("red", "green", "blue")
BRIGHT = 110
"""Median, of 255, above which the ground counts as bright."""
SKEW = 3.0
"""How many times farther bright pixels reach than dark ones, or the reverse, where polarity is clear."""


@dataclass(frozen=True)
class ImageHints:
    """What the user says of an image; None leaves the decision to the program.

    Attributes:
        modality: kind of microscope.
        invert: whether nuclei are darker than the ground, whatever the modality says.
        diameter: mean diameter of the nuclei in pixels.

    Raises:
        UserError: there is no such modality, or the diameter is not positive.
    """

    modality: Modality | None = None
    invert: bool | None = None
    diameter: float | None = None

    def __post_init__(self) -> None:
        if self.modality not in (None, *MODALITIES):
            raise UserError(f"modality={self.modality}: expected one of {', '.join(MODALITIES)}")
        if self.invert not in (None, True, False):
            raise UserError(f"invert={self.invert!r}: expected true, false or nothing")
        check_diameter(self.diameter)

    @classmethod
    def with_pixel_size(
        cls, modality: Modality | None, invert: bool | None, diameter: float | None, pixel_size: float | None
    ) -> ImageHints:
        """Return hints whose diameter is given in µm where the side of a pixel is, in µm too."""
        check_pixel_size(pixel_size)
        check_diameter(diameter)
        return cls(modality, invert, diameter and diameter / (pixel_size or 1.0))


def check_pixel_size(pixel_size: float | None) -> None:
    """Refuse a side of a pixel that is no positive number of µm; None is unknown."""
    if pixel_size is not None and not is_positive(pixel_size):
        raise UserError(f"pixel_size={pixel_size!r}: expected the side of a pixel in µm, a number above 0")


def check_diameter(diameter: float | None) -> None:
    """Refuse a diameter that is no positive number; None is unknown."""
    if diameter is not None and not is_positive(diameter):
        raise UserError(f"diameter={diameter!r}: expected the nuclei's mean diameter, a number above 0")


def is_positive(value: object) -> bool:
    """Return whether a value is a finite number above 0.

    >>> is_positive(0.5), is_positive("21"), is_positive(float("nan"))
    (True, False, False)
    """
    return isinstance(value, Real) and bool(0 < float(value) < float("inf"))


NO_HINTS = ImageHints()


def in_channels(preprocessing: Preprocessing) -> int:
    """Return the number of channels that ``preprocess`` gives: 1 or 3."""
    return 3 if preprocessing.endswith("rgb") else 1


def preprocess(image: np.ndarray, preprocessing: Preprocessing, hints: ImageHints = NO_HINTS) -> np.ndarray:
    """Bring an image to the form in which a network sees it, ``uint8`` with ``in_channels`` channels.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.
        preprocessing: ``nuclei``: one channel with bright nuclei on a dark ground and stretched contrast: of
            histology the red one (haematoxylin, which stains nuclei, absorbs red light, eosin hardly does),
            of coloured fluorescence that of ``nuclear_channel``; bright grounds are inverted;
            ``nuclei_rgb``: the same for each colour; ``grey``: the mean of the colours, inverted if it is
            bright on average (Haigh et al. 2018); ``plain``: the same, never inverted; ``rgb``: unchanged.
            Grey images are repeated where three channels are expected.
    """
    return choose_preprocessing(image, preprocessing, hints)(image)


def choose_preprocessing(
    image: np.ndarray, preprocessing: Preprocessing, hints: ImageHints = NO_HINTS
) -> Transform:
    """Decide from an image, or from a sample of its pixels, what ``preprocess`` does with each of its parts.

    Raises:
        UserError: the user says what has no effect on this preprocessing.
    """
    if preprocessing in ("rgb", "plain", "grey"):
        useless = {"modality": hints.modality, "invert": hints.invert if preprocessing != "grey" else None}
        if given := [f"{name}={value}" for name, value in useless.items() if value is not None]:
            raise UserError(f"{given[0]} has no effect: this model sees images as they are; leave it out")
    if preprocessing == "rgb":
        return _in_three_channels
    if preprocessing in ("grey", "plain"):
        invert = _mean_of_colours(image).mean() > 127 if hints.invert is None else hints.invert
        return _inverted(_mean_of_colours) if preprocessing == "grey" and invert else _mean_of_colours
    select, invert = _channels_and_polarity(image, hints)

    def colours_of(part: np.ndarray) -> np.ndarray:
        colours = np.moveaxis(np.atleast_3d(select(part)), 2, 0)
        return colours[:1] if preprocessing == "nuclei" else colours

    tables = [
        contrast_table(255 - colour if invert else colour)[:: -1 if invert else 1]
        for colour in colours_of(image)
    ]

    def show(part: np.ndarray) -> np.ndarray:
        channels = [table[colour] for table, colour in zip(tables, colours_of(part), strict=True)]
        if preprocessing == "nuclei":
            return channels[0]
        return np.stack(channels * (3 // len(channels)), axis=2)

    return show


def round_to_uint8(image: np.ndarray) -> np.ndarray:
    """Return the nearest whole numbers within 0..255, halves to the even one."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def is_grey(image: np.ndarray) -> bool:
    """Return whether an image has one channel, or channels that are equal."""
    return image.ndim == 2 or bool((image == image[..., :1]).all())


def _in_three_channels(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _mean_of_colours(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image.mean(axis=2).round().astype(np.uint8)


def _inverted(transform: Transform) -> Transform:
    return lambda image: 255 - transform(image)


def _channels_and_polarity(image: np.ndarray, hints: ImageHints) -> tuple[Transform, bool]:
    """Return what takes the channels that show nuclei out of an image, and whether nuclei are dark."""
    modality = hints.modality or guess_modality(image)
    invert = modality != "fluorescence" if hints.invert is None else hints.invert
    if modality == "histology" or image.ndim == 2:
        return lambda part: part, invert
    if modality == "fluorescence":
        return nuclear_channel(image)[0], invert
    return lambda part: part.max(axis=2), invert


def guess_modality(image: np.ndarray) -> Modality:
    """Tell ``fluorescence`` (dark ground), ``brightfield`` (grey, light one) and ``histology`` (colour)."""
    return judge_modality(image)[0]


def judge_modality(image: np.ndarray) -> tuple[Modality, bool]:
    """Return the modality of ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``, and whether it is doubtful.

    The median of grey images decides, unless the other pixels clearly lie on the wrong side of it: nuclei
    are a tail of the distribution, bright in fluorescence and dark in brightfield. Colour on a dark ground,
    or with one of red, green and blue missing, is fluorescence: stains absorb from white light.
    """
    if not image.size:
        return "fluorescence", False
    if image.ndim == 3:
        brightest = image.max(axis=2)
        median = float(np.median(brightest))
        if median <= BRIGHT or min(np.percentile(image[..., c], 99) for c in range(3)) < 40:
            return "fluorescence", median > 0.8 * BRIGHT
        coloured = np.mean(brightest - image.min(axis=2) > 25)
        return ("brightfield" if coloured < 0.01 else "histology"), median < 1.3 * BRIGHT
    dark, median, bright = np.percentile(image, (0.5, 50, 99.5))
    below, above = median - dark, bright - median
    if median > BRIGHT:
        modality: Modality = "fluorescence" if above > SKEW * below else "brightfield"
    else:
        modality = "brightfield" if below > max(SKEW * above, 30) else "fluorescence"
    tail, other = (above, below) if modality == "fluorescence" else (below, above)
    return modality, bright - dark > 20 and tail < 1.5 * other


def nuclear_channel(image: np.ndarray) -> tuple[Transform, str]:
    """Return what takes the channel that shows nuclei out of coloured fluorescence, and which one it is.

    Grey images with coloured annotations lose these; an image in shades of one colour becomes grey; of
    several dyes the blue one is taken, as DAPI and Hoechst are blue, or else the brightest. Images are RGB
    ``uint8 (H, W, 3)`` on a dark ground.
    """
    brightest, darkest = image.max(axis=2), image.min(axis=2)
    dark, ground = np.percentile(brightest, (5, 50))
    signal = brightest > ground + max(4.0, 3 * (ground - dark))
    colourful = brightest - darkest > np.maximum(3, brightest // 6)
    if not signal.any() or (colourful & signal).sum() < 0.5 * signal.sum():
        return lambda part: part.min(axis=2), "grey"
    grounds = np.median(image, axis=(0, 1))
    contrast = np.percentile(image[signal], 95, axis=0) - grounds
    dyes = [c for c in range(3) if contrast[c] > 0.15 * contrast.max()]
    if len(dyes) > 1 and (np.corrcoef(image[signal][:, dyes].astype(float).T) > 0.95).all():
        return lambda part: part[..., dyes].mean(axis=2).round().astype(np.uint8), "mean of the colours"
    dye = dyes[0] if len(dyes) == 1 else 2 if 2 in dyes else int(np.argmax(contrast))
    description = COLOURS[dye] if len(dyes) == 1 else f"{COLOURS[dye]} of several colours"
    return lambda part: np.ascontiguousarray(part[..., dye]), description


def stretch_contrast(image: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Scale an image, ``uint8`` of any shape, linearly so that two of its percentiles become 0 and 255."""
    return contrast_table(image, low, high)[image]


def contrast_table(image: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Return what ``stretch_contrast`` makes of each value of an image, ``uint8 (256,)``."""
    dark, bright = np.percentile(image, (low, high))
    levels = np.clip((np.arange(256) - dark) * (255.0 / max(bright - dark, 1.0)), 0, 255)
    return levels.round().astype(np.uint8)


def to_8_bits(image: np.ndarray) -> tuple[np.ndarray, str]:
    """Scale numbers of any type linearly to 0..255, but for a few pixels far outside the others' range.

    The range is that between the percentiles 0.5 and 99.5 of the finite pixels, widened by as much on either
    side, within minimum and maximum. Pixels that are no finite number get the median. ``uint8`` stays. With
    the result comes a warning, which is empty where nothing was cut or replaced.
    """
    convert, warning = choose_8_bits(image)
    return convert(image), warning


def choose_8_bits(image: np.ndarray) -> tuple[Transform, str]:
    """Decide from an image, or from a sample of it, what ``to_8_bits`` does with each of its parts."""
    if image.dtype == np.uint8:
        return lambda part: part, ""
    if image.dtype == bool:
        return lambda part: part.astype(np.uint8) * 255, ""
    finite = np.isfinite(image) if image.dtype.kind == "f" else np.ones((), bool)
    known = image[finite] if not finite.all() else image.reshape(-1)
    if not known.size:
        return lambda part: np.zeros(part.shape, np.uint8), "no pixel is a finite number"
    sample = known[:: max(1, known.size // 2**22)]
    darkest, brightest = float(known.min()), float(known.max())
    low, middle, high = map(float, np.percentile(sample, (0.5, 50, 99.5)))
    span = (high - low) or (brightest - darkest)
    start, stop = max(darkest, low - span), min(brightest, high + span)

    def scale(part: np.ndarray) -> np.ndarray:
        scaled = np.empty(part.shape, np.uint8)
        for row, values in enumerate(part):  # row by row: a float copy of a large image fills the memory
            row_values = np.nan_to_num(values.astype(float), nan=middle, posinf=middle, neginf=middle)
            scaled[row] = ((row_values.clip(start, stop) - start) * (255.0 / ((stop - start) or 1.0))).round()
        return scaled

    warnings = []
    if not finite.all():
        warnings.append(f"{image.size - known.size} pixels are no finite numbers and were left out")
    if clipped := np.count_nonzero(known < start) + np.count_nonzero(known > stop):
        warnings.append(
            f"{clipped} pixels far outside the range {start:g}..{stop:g} of the others were clipped"
        )
    return scale, "; ".join(warnings)
