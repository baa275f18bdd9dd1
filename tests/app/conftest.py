"""A model without networks, and the nuclei of a drawn image, for the tests of the page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nuclei.app.upload_session import Segmentation, Session
from nuclei.data.synthetic import draw_nuclei
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.components import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed


def maps_of(labels: np.ndarray) -> np.ndarray:
    """Maps as a good network would give them: classes are the halves of the image."""
    inside = labels > 0
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / 12
    right = np.arange(labels.shape[1]) >= labels.shape[1] // 2
    maps = [inside, 0 * inside, np.minimum(distance, 1) * inside, inside & ~right, inside & right]
    return (np.stack(maps) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    """Post-processing alone."""
    steps = [MapWatershed(0.5, 0.8, 0.4, 0.4, 0.6, 1.0), RemoveSmall(20)]
    return Segmenter([], ["nucleus", "border", "distance", "class_left", "class_right"], steps)


@pytest.fixture(scope="module")
def session() -> Session:
    """A visitor who has opened one image, whose maps are there."""
    labels = draw_nuclei(np.random.default_rng(0), (520, 696), 200, 12, touching=0.3)
    return Session({"a": np.where(labels > 0, 180, 20).astype(np.uint8)}, {"a": maps_of(labels)})


@pytest.fixture(scope="module")
def segmentation(session: Session, model: Segmenter) -> Segmentation:
    """The nuclei of this image at the model's own settings."""
    return session.segment("a", model, {})


@pytest.fixture
def empty(model: Segmenter) -> Segmentation:
    """An image without nuclei."""
    none = Session({"e": np.zeros((30, 40), np.uint8)}, {"e": np.zeros((5, 30, 40), np.uint8)})
    return none.segment("e", model, {})
