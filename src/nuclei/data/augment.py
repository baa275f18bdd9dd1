"""Random crops and their augmentation; the only module that imports albumentations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import albumentations as A
import cv2
import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

from nuclei.data.preprocessing import is_grey, round_to_uint8
from nuclei.metrics import equivalent_diameter

ZOOM_LIMITS = (0.35, 2.5)
"""Zoom to ``Augment.diameter``; wider than prediction goes, whose guess of the diameter may be off."""


@dataclass(frozen=True)
class Augment:
    """Cut a random square out of an image and its label map, and vary both.

    The square's side is ``crop`` divided by a random magnification, so that nuclei appear at many sizes: a
    share of the crops varies around the magnification at which images are predicted, the others around the
    image's own. Images smaller than the square are mirrored at their edges.

    Attributes:
        crop: side of the result in pixels.
        scale: least and greatest magnification of crops that vary around the image's own size.
        diameter: mean diameter in pixels to which nuclei are zoomed in prediction; None for no zoom.
        sized: probability of a crop around that diameter.
        spread: least and greatest factor to that diameter.
        stretch: greatest anisotropy; 0.15 varies width against height by 15 %.
        brightness: limit of added brightness and of contrast change.
        gamma: range of the exponent, in percent.
        blur: probability of a Gaussian blur.
        noise: probability of Gaussian noise.
        invert: probability of an inverted image.
        tint: limit of the independent shift of each colour channel, 0..1.
        nucleus_brightness: least and greatest factor to the contrast of each nucleus; see ``vary_nuclei``.
        nucleus_defocus: probability that a nucleus is blurred; see ``blur_nuclei``.
        illumination: standard deviation of uneven light; see ``light_unevenly``.
        stain: strength of the variation of stains; see ``vary_stain``.
        recolour: probability that colours are dropped or grey is tinted; see ``recolour``.
        elastic: standard deviation of an elastic displacement in pixels; see ``deform``.
        jpeg: least and greatest quality of JPEG compression, 1..100.

    Each of the last seven is off at None; all but ``recolour`` are applied to half of the crops.
    """

    crop: int
    scale: tuple[float, float]
    diameter: float | None
    sized: float
    spread: tuple[float, float]
    stretch: float
    brightness: float
    gamma: tuple[int, int]
    blur: float
    noise: float
    invert: float
    tint: float
    nucleus_brightness: tuple[float, float] | None
    nucleus_defocus: float | None
    illumination: float | None
    stain: float | None
    recolour: float | None
    elastic: float | None
    jpeg: tuple[int, int] | None

    @cached_property
    def _transform(self) -> A.Compose:
        steps = [
            A.D4(p=1.0),
            A.RandomBrightnessContrast(self.brightness, self.brightness, p=0.5),
            A.RandomGamma(tuple(self.gamma), p=0.5),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0), p=self.blur),
            A.GaussNoise(std_range=(0.01, 0.06), p=self.noise),
            A.InvertImg(p=self.invert),
            A.RGBShift(*[255 * self.tint] * 3, p=0.5 if self.tint else 0.0),
        ]
        if self.jpeg:
            steps.append(A.ImageCompression("jpeg", tuple(self.jpeg), p=0.5))
        return A.Compose(steps)

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one augmented crop; the same seed gives the same crop.

        Images are ``uint8 (H, W)`` or ``(H, W, 3)``, labels ``int32 (H, W)``, numbered without gaps; H and W
        become ``crop``. A nucleus and its mirror image at an edge keep one number.
        """
        rng = np.random.default_rng(seed)
        image, labels = self._cut(image, labels, rng)
        self._transform.set_random_seed(int(rng.integers(2**31)))
        image, labels = self._vary(image, labels, rng)
        varied = self._transform(image=image, mask=labels)
        return varied["image"], varied["mask"]

    def _vary(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Apply the augmentations that are switched on and stand below; none of them draws when off."""
        if self.elastic and rng.random() < 0.5:
            image, labels = deform(image, labels, self.elastic, rng)
        if self.nucleus_brightness and rng.random() < 0.5:
            image = vary_nuclei(image, labels, self.nucleus_brightness, rng)
        if self.nucleus_defocus and rng.random() < 0.5:
            image = blur_nuclei(image, labels, self.nucleus_defocus, rng)
        if self.illumination and rng.random() < 0.5:
            image = light_unevenly(image, self.illumination, rng)
        if self.stain and rng.random() < 0.5:
            image = vary_stain(image, self.stain, rng)
        if self.recolour and rng.random() < self.recolour:
            image = recolour(image, rng)
        return image, labels

    def _cut(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a random square of image and labels at a random magnification."""
        zoom = self._random_zoom(labels, rng)
        ratio = np.exp(rng.uniform(-self.stretch, self.stretch) / 2)
        rows, columns = (
            random_window(length, round(self.crop / z), rng)
            for length, z in zip(image.shape[:2], (zoom * ratio, zoom / ratio), strict=True)
        )
        window, size = np.ix_(rows, columns), (self.crop, self.crop)
        interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        return (
            cv2.resize(image[window], size, interpolation=interpolation),
            cv2.resize(labels[window], size, interpolation=cv2.INTER_NEAREST_EXACT),
        )

    def _random_zoom(self, labels: np.ndarray, rng: np.random.Generator) -> float:
        """Return a random magnification."""
        count = int(labels.max(initial=0))
        if self.diameter is None or not count or rng.random() >= self.sized:
            return float(np.exp(rng.uniform(*np.log(self.scale))))
        diameter = equivalent_diameter(cv2.countNonZero(labels) / count)
        zoom = np.clip(self.diameter / diameter, *ZOOM_LIMITS)
        return float(zoom * np.exp(rng.uniform(*np.log(self.spread))))


def random_window(length: int, window: int, rng: np.random.Generator) -> np.ndarray:
    """Return the row or column numbers of a random window, mirrored where it exceeds the image."""
    start = int(rng.integers(min(0, length - window), max(0, length - window) + 1))
    positions = np.arange(start, start + window) % max(2 * length - 2, 1)
    return np.where(positions < length, positions, 2 * length - 2 - positions)


def deform(
    image: np.ndarray, labels: np.ndarray, deviation: float, rng: np.random.Generator, spacing: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Deform an image and its label map elastically (Ronneberger et al. 2015, section 3.1).

    The standard deviation of the displacement along each axis, and the spacing of the points that move
    independently of one another, are in pixels.
    """
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    dx, dy = (deviation * smooth_noise(labels.shape, spacing, rng) for _ in range(2))
    grid, border = (x + dx, y + dy), cv2.BORDER_REFLECT_101
    deformed = cv2.remap(labels.astype(np.float32), *grid, cv2.INTER_NEAREST, borderMode=border)
    return cv2.remap(image, *grid, cv2.INTER_LINEAR, borderMode=border), deformed.astype(np.int32)


def vary_nuclei(
    image: np.ndarray, labels: np.ndarray, factors: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Scale the contrast of each nucleus to the background around it: dim ones lie beside bright ones.

    Its factor is drawn between the least and the greatest, uniformly on a logarithmic scale.
    """
    low, high = np.log(factors)
    gain = np.exp(rng.uniform(low, high, int(labels.max(initial=0)) + 1)).astype(np.float32)
    gain[0] = 1
    gain = _like(cv2.GaussianBlur(gain[labels], (0, 0), 1.0), image)  # no step at the edge of a nucleus
    outside = _like((labels == 0).astype(np.float32), image)
    pixels, window = image.astype(np.float32), (41, 41)
    mean = float((pixels * outside).sum() / max(float(outside.sum()), 1.0))
    # Where a window holds no background at all, the mean background of the crop stands in.
    weight = cv2.blur(outside, window) + 1e-3
    background = (cv2.blur(pixels * outside, window) + 1e-3 * mean) / weight
    return round_to_uint8(background + (pixels - background) * gain)


def blur_nuclei(
    image: np.ndarray, labels: np.ndarray, probability: float, rng: np.random.Generator
) -> np.ndarray:
    """Blur some nuclei as if they lay out of focus, by 1.5 to 3 pixels."""
    chosen = rng.random(int(labels.max(initial=0)) + 1) < probability
    chosen[0] = False
    sigma = float(rng.uniform(1.5, 3))
    # The blurred nucleus reaches beyond its outline.
    mask = cv2.dilate(chosen[labels].astype(np.float32), np.ones((5, 5), np.uint8))
    mask = _like(cv2.GaussianBlur(mask, (0, 0), 1.5), image)
    pixels = image.astype(np.float32)
    return round_to_uint8(pixels + mask * (cv2.GaussianBlur(pixels, (0, 0), sigma) - pixels))


def light_unevenly(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply an image by smooth light around 1 with a standard deviation, in waves of about 100 pixels."""
    light = np.maximum(1 + deviation * smooth_noise(image.shape[:2], 96, rng), 0.1)
    return round_to_uint8(image * _like(light, image))


def vary_stain(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Vary haematoxylin, eosin and DAB (Tellez et al. 2018), then hue and saturation; grey stays grey.

    The image is bright where much light is absorbed. ``strength`` is the greatest relative change of each
    stain and of the saturation; hues turn by at most 60 degrees times this.
    """
    if is_grey(image):
        return image
    scales = 1 + rng.uniform(-strength, strength, 3)
    turn, saturation = rng.uniform(-30, 30) * strength, 1 + rng.uniform(-strength, strength)
    mixing = (hed_from_rgb * scales) @ rgb_from_hed
    levels = np.arange(256, dtype=np.float32)
    density = -np.log(np.maximum(255 - levels, 1) / 255)[image]
    image = round_to_uint8(255 - 255 * np.exp(-cv2.transform(density, mixing.T)))
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hues are 0..179
    hue, saturated = (levels + turn) % 180, np.minimum(levels * saturation, 255)
    table = np.stack([hue, saturated, levels], 1)[:, None].astype(np.uint8)
    return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reduce colours to three equal channels, or tint grey ones; a single channel stays as it is."""
    if image.ndim == 2:
        return image
    if not is_grey(image):
        return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    gains = rng.uniform(0.4, 1, 3)
    return round_to_uint8(image * (gains / gains.max()).astype(np.float32))


def smooth_noise(shape: tuple[int, ...], spacing: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise with a standard deviation of 1, smooth between points of a grid, ``float32 (H, W)``."""
    points = [length // spacing + 2 for length in shape]
    noise = cv2.resize(rng.normal(size=points), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (noise / max(float(np.sqrt((noise**2).mean())), 1e-6)).astype(np.float32)


def _like(field: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Give a field ``(H, W)`` the channels of an image."""
    return field if image.ndim == 2 else np.repeat(field[..., None], 3, 2)


@dataclass(frozen=True)
class WholeImage:
    """Resize an image and its label map to a square, and vary both, as three of the papers do.

    The settings are those of Keras' ImageDataGenerator (with the nearest pixel beyond the edge), imgaug's
    piecewise affine deformation, and elastic deformation.

    Attributes:
        crop: side of the result in pixels.
        horizontal_flip, vertical_flip: probability of each mirroring.
        rotate: greatest angle in degrees.
        shift: greatest shift as a share of the side.
        shear: greatest angle of shear in degrees.
        zoom: greatest change of magnification, as a share.
        piecewise: standard deviation by which points of a regular grid move, as a share of the side: least
            and greatest; [0, 0] for none.
        elastic: standard deviation of an elastic displacement in pixels, of points a third of the side
            apart; 0 for none.
        window: side of a random square that is cut from the varied image, for shorter trainings; or None.
    """

    crop: int
    horizontal_flip: float
    vertical_flip: float
    rotate: float
    shift: float
    shear: float
    zoom: float
    piecewise: tuple[float, float]
    elastic: float
    window: int | None

    @cached_property
    def _transform(self) -> A.Compose:
        resize = {"interpolation": cv2.INTER_AREA, "mask_interpolation": cv2.INTER_NEAREST_EXACT}
        affine = A.Affine(
            rotate=(-self.rotate, self.rotate),
            translate_percent=(-self.shift, self.shift),
            shear=(-self.shear, self.shear),
            scale=(1 - self.zoom, 1 + self.zoom),
            border_mode=cv2.BORDER_REPLICATE,
            p=1.0,
        )
        flips = A.HorizontalFlip(p=self.horizontal_flip), A.VerticalFlip(p=self.vertical_flip)
        return A.Compose([A.Resize(self.crop, self.crop, **resize), *flips, affine])

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one varied image, as ``Augment`` does, with the side ``window`` or else ``crop``."""
        self._transform.set_random_seed(seed)
        varied = self._transform(image=image, mask=labels.astype(np.float32))  # OpenCV resizes no int32
        image, mask, rng = varied["image"], varied["mask"], np.random.default_rng(seed)
        if max(self.piecewise) > 0:
            grid = displaced_grid(self.crop, self.piecewise, rng)
            image = cv2.remap(image, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mask = cv2.remap(mask, *grid, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        if self.elastic:
            image, mask = deform(image, mask, self.elastic, rng, self.crop // 3)
        if self.window:
            y, x = rng.integers(0, self.crop - self.window + 1, 2)
            image, mask = (a[y : y + self.window, x : x + self.window] for a in (image, mask))
        return image, mask.astype(np.int32)


def displaced_grid(
    side: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y from where each pixel comes when the points of a regular grid of 4×4 move.

    imgaug's piecewise affine deformation, with squares in place of triangles: scikit-image's takes 200 times
    as long. ``scale`` is the range of the standard deviation of the moves, as a share of the side. The result
    is ``float32 (side, side)`` twice.
    """
    moves = rng.normal(0, rng.uniform(*scale) * side, (4, 4, 2)).astype(np.float32)
    dense = cv2.resize(moves, (side, side), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return x + dense[..., 0], y + dense[..., 1]
