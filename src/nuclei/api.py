"""The functions for Python, and the widget for napari.

``import nuclei`` names the functions, and loads what they need at their first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nuclei.errors import UserError

if TYPE_CHECKING:
    import napari.layers
    import napari.types
    import pandas as pd

    from nuclei.data.preprocessing import Modality
    from nuclei.inference.segmenter import Segmenter


def read_image(
    path: str | Path, channel: str | int | None = None, z: int | None = None, t: int | None = None
) -> np.ndarray:
    """Read the first image of a file, with the values that stand in the file.

    Args:
        path: a PNG, JPEG, TIFF, OME-Zarr or a similar format, of any depth.
        channel: name or number from 1; None takes the one whose name is that of a nuclear dye, or else the
            one that looks most like nuclei, or all colours of RGB.
        z: slice, from 1; None takes the maximum of all.
        t: time point, from 1.

    Returns:
        ``(H, W)`` of the file's type, or RGB ``(H, W, 3)`` where the colours differ. Numbers that
        stand for no value, such as -9999 in float images, are NaN.

    Raises:
        nuclei.UserError: the file is missing, damaged, or no image, or has no such channel.
    """
    from nuclei.data.image_io import read_image

    return np.asarray(read_image(Path(path), channel, z, t).pixels)


def load_model(path: str | Path | None = None, tta: int | None = None) -> Segmenter:
    """Load a trained model: networks with their post-processing.

    Args:
        path: a file that ``nuclei export`` wrote; None takes the bundled model.
        tta: mirrored and turned views to average, 1 to 8; None takes what the model was made with.

    Raises:
        nuclei.UserError: the file is missing, damaged, or no such model.
    """
    from nuclei.model_loading import file_segmenter
    from nuclei.paths import default_model

    return file_segmenter(Path(path) if path else default_model(), tta)


@cache
def _default_model() -> Segmenter:
    return load_model()


def segment(
    image: np.ndarray,
    model: Segmenter | None = None,
    *,
    channel: str | int | None = None,
    diameter: float | None = None,
    pixel_size: float | None = None,
    modality: Modality | None = None,
    invert: bool | None = None,
) -> np.ndarray:
    """Find the nuclei in an image.

    Args:
        image: ``(H, W)`` or RGB ``(H, W, 3)`` of any real type; with ``channel`` also ``(C, H, W)`` or
            ``(H, W, C)``, where the shorter one of first and last axis counts the channels.
        model: from ``load_model``; None takes the bundled model, loaded once.
        channel: number from 1, or ``red``, ``green`` or ``blue``.
        diameter: mean diameter of the nuclei, in pixels, or in µm where ``pixel_size`` is given; None: it is
            measured.
        pixel_size: side of a pixel in µm, the unit of ``diameter`` where it is given.
        modality: ``fluorescence``, ``brightfield`` or ``histology``; None: as the image looks.
        invert: whether nuclei are darker than the ground; None: as the modality says.

    Returns:
        Labels: ``int32 (H, W)``, 0 background, 1..N nuclei.

    Raises:
        ValueError: the image has another shape or type.
        nuclei.UserError: there is no such channel or modality, a size is no positive number, or ``model`` is
            not from ``load_model``.
    """
    from nuclei.data.image_stacks import channel_of, show
    from nuclei.data.preprocessing import ImageHints
    from nuclei.inference.large_images import segment as segment_image
    from nuclei.inference.segmenter import Segmenter

    if not isinstance(model, Segmenter | None):
        raise UserError(f"model={model!r}: expected a model from nuclei.load_model, which loads a file")
    image = np.asarray(image)
    if channel is not None:
        image = channel_of(image, int(channel) if isinstance(channel, np.integer) else channel)
    if not image.size:
        raise ValueError(f"expected an image with pixels, got {image.shape}")
    if image.dtype.kind not in "buif" or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(
            f"expected an image (H, W) or (H, W, 3) of real numbers, got {image.dtype} {image.shape}; "
            "channel= takes one of several channels, image[..., :3] the colours without opacity"
        )
    hints = ImageHints.with_pixel_size(modality, invert, diameter, pixel_size)
    model = model or _default_model()
    return np.asarray(segment_image(model, show(image).shown, hints).labels)


def segment_layer(
    image: napari.layers.Image,
    diameter: float = 0.0,
    modality: Literal["as it looks", "fluorescence", "brightfield", "histology"] = "as it looks",
    dark_nuclei: Literal["as the modality says", "yes", "no"] = "as the modality says",
) -> napari.types.LayerDataTuple:
    """Find the nuclei in a layer of napari, in each plane of a stack by itself: its widget.

    Args:
        image: a layer ``(…, H, W)``, or RGB ``(…, H, W, 3)`` or RGBA; alpha is left out.
        diameter: mean diameter of the nuclei in pixels; 0: it is measured.
        modality: kind of microscope.
        dark_nuclei: whether nuclei are darker than the ground.

    Returns:
        Labels ``int32 (…, H, W)`` as a new layer, which lies where the image lies.

    Raises:
        nuclei.UserError: the diameter is negative.
    """
    from nuclei.data.preprocessing import MODALITIES

    data = np.asarray(image.data[0] if image.multiscale else image.data)
    data = data[..., :3] if image.rgb else data
    shape = data.shape[: image.ndim]
    planes = data.reshape(-1, *data.shape[image.ndim - 2 :])
    invert = {"yes": True, "no": False}.get(dark_nuclei)
    kind = modality if modality in MODALITIES else None
    labels = [segment(p, diameter=diameter or None, modality=kind, invert=invert) for p in planes]
    place = {"scale": image.scale, "translate": image.translate, "name": f"nuclei of {image.name}"}
    return np.stack(labels).reshape(shape), place, "labels"


def measure(labels: np.ndarray, image: np.ndarray, pixel_size: float | None = None) -> pd.DataFrame:
    """Measure nuclei.

    Args:
        labels: ``int (H, W)``, 0 background.
        image: ``(H, W)`` or RGB ``(H, W, 3)``; its values are those whose mean is the intensity.
        pixel_size: side of a pixel in µm; adds columns in µm and µm².

    Returns:
        A row for each nucleus: ``label``, ``area``, ``y``, ``x``, ``mean_intensity``, ``perimeter``,
        ``major_axis``, ``minor_axis``, ``eccentricity``, ``solidity``; lengths in pixels.

    >>> labels = np.array([[0, 1, 1], [0, 1, 1]])
    >>> table = measure(labels, np.array([[9, 100, 200], [9, 300, 400]]), pixel_size=0.5)
    >>> table[["label", "area", "mean_intensity", "area_um2"]].values.tolist()
    [[1.0, 4.0, 250.0, 1.0]]
    """
    import pandas as pd

    from nuclei.inference import measure as measurements

    return pd.DataFrame(measurements.measure(_as_labels(labels), np.asarray(image), None, pixel_size))


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

    return [rle.to_text(runs) for runs in rle.encode(_as_labels(labels))]


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

    return metrics.average_precision(_as_labels(annotation), _as_labels(labels))


def _as_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels as integers in the machine's own byte order; large maps are saved as whole floats.

    Raises:
        ValueError: they are no label map.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.ndim != 2:
        raise ValueError(
            f"expected labels (H, W) of whole numbers, 0 background, got {labels.dtype} {labels.shape}"
            + ("; skimage.measure.label numbers the nuclei of a mask" if labels.dtype == bool else "")
        )
    if labels.size and labels.min() < 0:
        raise ValueError(f"expected labels of 0 or more, got {labels.min()}")
    return labels.astype(labels.dtype.newbyteorder("="), copy=False)
