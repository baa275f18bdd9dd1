"""The widget for napari: the nuclei of an image layer as labels; ``pip install '.[napari]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from nuclei import api
from nuclei.data.preprocessing import MODALITIES

if TYPE_CHECKING:
    import napari.layers
    import napari.types


def segment(
    image: napari.layers.Image,
    diameter: float = 0.0,
    modality: Literal["as it looks", "fluorescence", "brightfield", "histology"] = "as it looks",
    dark_nuclei: Literal["as the modality says", "yes", "no"] = "as the modality says",
) -> napari.types.LayerDataTuple:
    """Find the nuclei in a layer, in each plane of a stack by itself.

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
    data = np.asarray(image.data[0] if image.multiscale else image.data)
    data = data[..., :3] if image.rgb else data
    shape = data.shape[: image.ndim]
    planes = data.reshape(-1, *data.shape[image.ndim - 2 :])
    invert = {"yes": True, "no": False}.get(dark_nuclei)
    kind = modality if modality in MODALITIES else None
    labels = [api.segment(p, diameter=diameter or None, modality=kind, invert=invert) for p in planes]
    place = {"scale": image.scale, "translate": image.translate, "name": f"nuclei of {image.name}"}
    return np.stack(labels).reshape(shape), place, "labels"
