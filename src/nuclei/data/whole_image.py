"""Whole images resized to a square and varied, as two of the papers do; albumentations stays behind it."""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np


class WholeImage:
    """Resize an image and its label map to a square, and vary them.

    The knobs are those of Keras' ImageDataGenerator (with the nearest pixel beyond the edge), imgaug's
    piecewise affine deformation, and elastic deformation.

    Args:
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

    def __init__(
        self,
        crop: int,
        flip: float,
        rotate: float,
        shift: float,
        shear: float,
        zoom: float,
        piecewise: tuple[float, float],
        elastic: float,
        window: int | None = None,
    ) -> None:
        nearest = {"border_mode": cv2.BORDER_REPLICATE}
        steps = [
            A.Resize(crop, crop, interpolation=cv2.INTER_AREA, mask_interpolation=cv2.INTER_NEAREST_EXACT),
            A.HorizontalFlip(p=flip),
            A.VerticalFlip(p=flip),
            A.Affine(
                rotate=(-rotate, rotate),
                translate_percent=(-shift, shift),
                shear=(-shear, shear),
                scale=(1 - zoom, 1 + zoom),
                p=1.0,
                **nearest,
            ),
        ]
        if elastic:
            steps.append(A.ElasticTransform(alpha=elastic, sigma=8, p=1.0, **nearest))
        if window:
            steps.append(A.RandomCrop(window, window))
        self.transform, self.piecewise = A.Compose(steps), piecewise
        self.crop = window or crop

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """One varied image.

        Args:
            image: ``uint8 (H, W)`` or ``(H, W, 3)``.
            labels: ``int32 (H, W)``.
            seed: the same seed gives the same result.

        Returns:
            ``uint8 (crop, crop)`` or ``(crop, crop, 3)``, and ``int32 (crop, crop)``.
        """
        self.transform.set_random_seed(seed)
        out = self.transform(image=image, mask=labels.astype(np.float32))  # OpenCV resizes no int32
        image, mask = out["image"], out["mask"]
        if max(self.piecewise) > 0:
            where = moved_grid(mask.shape[0], self.piecewise, np.random.default_rng(seed))
            image = cv2.remap(image, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mask = cv2.remap(mask, *where, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        return image, mask.astype(np.int32)


def moved_grid(
    side: int, scale: tuple[float, float], rng: np.random.Generator, points: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from when the points of a regular grid move and all between follows linearly.

    imgaug's piecewise affine deformation, with squares in place of triangles: scikit-image's takes 200 times
    as long.

    Args:
        side: of the image in pixels.
        scale: range of the standard deviation, as a share of the side.
        rng: of the moves.
        points: of the grid, along each side.

    Returns:
        x and y, ``float32 (side, side)`` each.
    """
    moves = rng.normal(0, rng.uniform(*scale) * side, (points, points, 2)).astype(np.float32)
    dense = cv2.resize(moves, (side, side), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return x + dense[..., 0], y + dense[..., 1]
