"""The functions for Python; ``import nuclei`` names them, and loads what they need at their first call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from nuclei.inference.segmenter import Segmenter


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Args:
        path: a PNG, JPEG or TIFF of any depth; of several pages the first is read.

    Returns:
        ``uint8 (H, W)`` where the channels agree, else RGB ``uint8 (H, W, 3)``. 16-bit images are scaled
        linearly so that their range fills 8 bits.

    Raises:
        nuclei.UserError: the file is missing, damaged, or no image.
    """
    from nuclei.data.image_io import read_pages

    return next(read_pages(Path(path).stem, Path(path)))[1]


def load_model(path: str | Path | None = None, tta: int | None = None) -> Segmenter:
    """Load a trained model: networks with their post-processing.

    Args:
        path: a file that ``nuclei export`` wrote; None takes the model that comes along.
        tta: mirrored and turned views to average, 1 to 8; None takes what the model was made with.

    Raises:
        nuclei.UserError: the file is missing, damaged, or no such model.
    """
    from nuclei.build import file_segmenter
    from nuclei.paths import default_model

    return file_segmenter(Path(path) if path else default_model(), tta)


@cache
def _default_model() -> Segmenter:
    return load_model()


def segment(image: np.ndarray, model: Segmenter | None = None) -> np.ndarray:
    """Find the nuclei in an image.

    Args:
        image: ``uint8 (H, W)``, or RGB ``uint8 (H, W, 3)``.
        model: from ``load_model``; None takes the model that comes along, loaded once.

    Returns:
        Labels: ``int32 (H, W)``, 0 background, 1..N nuclei.

    Raises:
        ValueError: the image has another shape or dtype.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(
            f"expected a uint8 image (H, W) or (H, W, 3), got {image.dtype} {image.shape}; "
            "nuclei.read_image reads files of any depth"
        )
    model = model or _default_model()
    return model.labels(model.maps(image))


def rle_encode(labels: np.ndarray) -> list[str]:
    """Return the run-length code of each nucleus, as the competition's submissions have it.

    Args:
        labels: integers ``(H, W)``; 0 is background.

    Returns:
        For each nucleus a text of ``start length`` pairs; pixels are numbered from 1, column by column.

    >>> rle_encode(np.array([[1, 0, 2], [1, 0, 0], [0, 1, 0]]))
    ['1 2 6 1', '7 1']
    """
    from nuclei.submission import rle

    return [rle.to_text(runs) for runs in rle.encode(labels)]


def rle_decode(codes: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """Return the labels of run-length codes: the inverse of ``rle_encode``.

    Args:
        codes: one text for each nucleus.
        shape: ``(H, W)`` of the image.

    Returns:
        ``int32 (H, W)``, 0 background, nucleus ``n`` from ``codes[n - 1]``.

    Raises:
        nuclei.UserError: a code is no list of pairs, leaves the image, or overlaps another one.

    >>> rle_decode(["1 2 6 1", "7 1"], (3, 3))
    array([[1, 0, 2],
           [1, 0, 0],
           [0, 1, 0]], dtype=int32)
    """
    from nuclei.submission import rle

    return rle.decode(codes, shape)


def average_precision(annotation: np.ndarray, labels: np.ndarray) -> float:
    """Return the competition's score of one image.

    Args:
        annotation: integers ``(H, W)``, 0 background.
        labels: the same of a prediction.

    Returns:
        The mean over the IoU thresholds 0.50, 0.55 ... 0.95 of TP / (TP + FP + FN), 0..1.

    >>> average_precision(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 0, 0]]))
    0.5
    """
    from nuclei import metrics

    return metrics.average_precision(annotation, labels)
