"""Random crops and what is done to them; albumentations stays behind this door."""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

from nuclei.metrics import equivalent_diameter

ZOOMS = (0.35, 2.5)  # to one diameter; wider than prediction goes, whose guess of it may be off


class Augment:
    """Cut a random square out of an image and its label map, and vary it.

    The square's side is ``crop`` divided by a random magnification, so that nuclei appear at many sizes: a
    share of the crops varies around the magnification at which images are predicted, the others around the
    image's own. Images smaller than the square are mirrored at their edges.

    Args:
        crop: side of the result in pixels.
        scale: least and greatest magnification of crops that vary around the image's own size.
        diameter: mean diameter in pixels to which nuclei are zoomed in prediction; None: they are not.
        sized: probability of a crop around that diameter.
        spread: least and greatest factor to it.
        stretch: greatest anisotropy; 0.15 varies width against height by 15 %.
        brightness: limit of added brightness and of contrast change.
        gamma: range of the exponent, in percent.
        blur: probability of a Gaussian blur.
        noise: probability of Gaussian noise.
        invert: probability of an inverted image.
        tint: limit of what is added to each colour channel on its own, 0..1.
    """

    def __init__(
        self,
        crop: int = 256,
        scale: tuple[float, float] = (0.5, 2.0),
        diameter: float | None = None,
        sized: float = 0.5,
        spread: tuple[float, float] = (0.7, 1.4),
        stretch: float = 0.15,
        brightness: float = 0.2,
        gamma: tuple[int, int] = (60, 160),
        blur: float = 0.2,
        noise: float = 0.2,
        invert: float = 0.02,
        tint: float = 0.0,
    ) -> None:
        self.crop, self.scale, self.stretch = crop, scale, stretch
        self.diameter, self.sized, self.spread = diameter, sized, spread
        self.transform = A.Compose(
            [
                A.D4(p=1.0),
                A.RandomBrightnessContrast(brightness, brightness, p=0.5),
                A.RandomGamma(tuple(gamma), p=0.5),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0), p=blur),
                A.GaussNoise(std_range=(0.01, 0.06), p=noise),
                A.InvertImg(p=invert),
                A.RGBShift(*[255 * tint] * 3, p=0.5 if tint else 0.0),
            ]
        )

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """One augmented crop.

        Args:
            image: ``uint8 (H, W)`` or ``(H, W, 3)``.
            labels: ``int32 (H, W)``.
            seed: the same seed gives the same crop.

        Returns:
            ``uint8 (crop, crop)`` or ``(crop, crop, 3)``, and ``int32 (crop, crop)``; a nucleus and its
            mirror image at an edge keep one number.
        """
        rng = np.random.default_rng(seed)
        a, b = self._window(image, labels, rng)
        self.transform.set_random_seed(int(rng.integers(2**31)))
        out = self.transform(image=a, mask=b)
        return out["image"], out["mask"]

    def _window(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        zoom = self._zoom(labels, rng)
        ratio = np.exp(rng.uniform(-self.stretch, self.stretch) / 2)
        rows, cols = (
            _indices(n, round(self.crop / z), rng)
            for n, z in zip(image.shape[:2], (zoom * ratio, zoom / ratio), strict=True)
        )
        a, b = image[np.ix_(rows, cols)], labels[np.ix_(rows, cols)]
        size = (self.crop, self.crop)
        shrink = zoom < 1
        a = cv2.resize(a, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
        return a, cv2.resize(b, size, interpolation=cv2.INTER_NEAREST_EXACT)

    def _zoom(self, labels: np.ndarray, rng: np.random.Generator) -> float:
        """A random magnification; nuclei are numbered without gaps."""
        count = int(labels.max(initial=0))
        if self.diameter is None or not count or rng.random() >= self.sized:
            return float(np.exp(rng.uniform(*np.log(self.scale))))
        found = equivalent_diameter(cv2.countNonZero(labels) / count)
        return float(np.clip(self.diameter / found, *ZOOMS) * np.exp(rng.uniform(*np.log(self.spread))))


def _indices(length: int, window: int, rng: np.random.Generator) -> np.ndarray:
    """Row or column numbers of a random window, mirrored where it is longer than the image."""
    start = int(rng.integers(min(0, length - window), max(0, length - window) + 1))
    at = np.arange(start, start + window) % max(2 * length - 2, 1)
    return np.where(at < length, at, 2 * length - 2 - at)
