"""Random crops and their augmentation; the only module that imports albumentations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import albumentations as A
import cv2
import numpy as np

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

    @cached_property
    def _transform(self) -> A.Compose:
        return A.Compose(
            [
                A.D4(p=1.0),
                A.RandomBrightnessContrast(self.brightness, self.brightness, p=0.5),
                A.RandomGamma(tuple(self.gamma), p=0.5),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0), p=self.blur),
                A.GaussNoise(std_range=(0.01, 0.06), p=self.noise),
                A.InvertImg(p=self.invert),
                A.RGBShift(*[255 * self.tint] * 3, p=0.5 if self.tint else 0.0),
            ]
        )

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one augmented crop.

        Args:
            image: ``uint8 (H, W)`` or ``(H, W, 3)``.
            labels: ``int32 (H, W)``, numbered without gaps.
            seed: the same seed gives the same crop.

        Returns:
            ``uint8 (crop, crop)`` or ``(crop, crop, 3)``, and ``int32 (crop, crop)``; a nucleus and its
            mirror image at an edge keep one number.
        """
        rng = np.random.default_rng(seed)
        image, labels = self._cut(image, labels, rng)
        self._transform.set_random_seed(int(rng.integers(2**31)))
        varied = self._transform(image=image, mask=labels)
        return varied["image"], varied["mask"]

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


@dataclass(frozen=True)
class WholeImage:
    """Resize an image and its label map to a square, and vary both, as three of the papers do.

    The settings are those of Keras' ImageDataGenerator (with the nearest pixel beyond the edge), imgaug's
    piecewise affine deformation, and elastic deformation.

    Attributes:
        crop: side of the result in pixels.
        flip: probability of each mirroring.
        rotate: greatest angle in degrees.
        shift: greatest shift as a share of the side.
        shear: greatest angle of shear in degrees.
        zoom: greatest change of magnification, as a share.
        piecewise: standard deviation by which points of a regular grid move, as a share of the side: least
            and greatest; [0, 0] for none.
        elastic: strength of the elastic deformation in pixels; 0 for none.
        window: side of a random square that is cut from the varied image, for shorter trainings; or None.
    """

    crop: int
    flip: float
    rotate: float
    shift: float
    shear: float
    zoom: float
    piecewise: tuple[float, float]
    elastic: float
    window: int | None

    @cached_property
    def _transform(self) -> A.Compose:
        nearest = {"border_mode": cv2.BORDER_REPLICATE}
        resize = {"interpolation": cv2.INTER_AREA, "mask_interpolation": cv2.INTER_NEAREST_EXACT}
        steps = [
            A.Resize(self.crop, self.crop, **resize),
            A.HorizontalFlip(p=self.flip),
            A.VerticalFlip(p=self.flip),
            A.Affine(
                rotate=(-self.rotate, self.rotate),
                translate_percent=(-self.shift, self.shift),
                shear=(-self.shear, self.shear),
                scale=(1 - self.zoom, 1 + self.zoom),
                p=1.0,
                **nearest,
            ),
        ]
        if self.elastic:
            steps.append(A.ElasticTransform(alpha=self.elastic, sigma=8, p=1.0, **nearest))
        if self.window:
            steps.append(A.RandomCrop(self.window, self.window))
        return A.Compose(steps)

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one varied image.

        Args:
            image: ``uint8 (H, W)`` or ``(H, W, 3)``.
            labels: ``int32 (H, W)``.
            seed: the same seed gives the same result.

        Returns:
            ``uint8 (S, S)`` or ``(S, S, 3)``, and ``int32 (S, S)``, where S is ``window`` or else ``crop``.
        """
        self._transform.set_random_seed(seed)
        varied = self._transform(image=image, mask=labels.astype(np.float32))  # OpenCV resizes no int32
        image, mask = varied["image"], varied["mask"]
        if max(self.piecewise) > 0:
            grid = displaced_grid(mask.shape[0], self.piecewise, np.random.default_rng(seed))
            image = cv2.remap(image, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mask = cv2.remap(mask, *grid, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        return image, mask.astype(np.int32)


def displaced_grid(
    side: int, scale: tuple[float, float], rng: np.random.Generator, points: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each pixel comes from when points of a regular grid move and all between them follows.

    imgaug's piecewise affine deformation, with squares in place of triangles: scikit-image's takes 200 times
    as long.

    Args:
        side: of the image in pixels.
        scale: range of the standard deviation of the moves, as a share of the side.
        rng: source of the moves.
        points: of the grid, along each side.

    Returns:
        x and y, ``float32 (side, side)`` each.
    """
    moves = rng.normal(0, rng.uniform(*scale) * side, (points, points, 2)).astype(np.float32)
    dense = cv2.resize(moves, (side, side), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return x + dense[..., 0], y + dense[..., 1]
