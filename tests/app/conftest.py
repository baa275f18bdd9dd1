"""A model without networks, and the nuclei of a drawn image, for the tests of the page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from nuclei.app.session import OpenImage, Segmentation, Session, open_image
from nuclei.data.image_stacks import SourceImage
from nuclei.data.sources.demo import draw_nuclei
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.fcn import Fcn
from nuclei.postprocess.components import Components, RemoveSmall
from nuclei.postprocess.watershed import MapWatershed


def maps_of(labels: np.ndarray) -> np.ndarray:
    """Maps as a good network would give them: classes are the halves of the image."""
    inside = labels > 0
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / 12
    right = np.arange(labels.shape[1]) >= labels.shape[1] // 2
    maps = [inside, 0 * inside, np.minimum(distance, 1) * inside, inside & ~right, inside & right]
    return (np.stack(maps) * 255).astype(np.uint8)


def opened(pixels: np.ndarray) -> OpenImage:
    """A grey image as it is opened."""
    return open_image(SourceImage("", pixels, pixels, ("grey",), [pixels].__getitem__))


@pytest.fixture(scope="module")
def model() -> Segmenter:
    """Post-processing alone."""
    steps = [MapWatershed(0.5, 0.8, 0.4, 0.4, 0.6, 1.0), RemoveSmall(20)]
    return Segmenter([], ["nucleus", "border", "distance", "class_left", "class_right"], steps)


@pytest.fixture(scope="module")
def bright() -> Segmenter:
    """A network that takes for a nucleus what is brighter than a third of the range."""
    network = Fcn([1], 1)
    for weights in network.parameters():
        torch.nn.init.zeros_(weights)
    (hidden, _), head = network.body[0][0], network.body[1]
    hidden.weight.data[..., 1, 1] = 1.0
    head.weight.data[:] = 20.0
    head.bias.data[:] = -6.0
    steps = [Components(0.5, 0.5), RemoveSmall(20)]
    return Segmenter([WeightedNetwork(network.eval(), ["nucleus"])], ["nucleus"], steps)


@pytest.fixture(scope="module")
def session() -> Session:
    """A visitor who has opened one image, whose maps are there."""
    labels = draw_nuclei(np.random.default_rng(0), (520, 696), 200, 12, touching=0.3)
    image = opened(np.where(labels > 0, 180, 20).astype(np.uint8))
    return Session({"a": image}, {"a": (image, maps_of(labels))})


@pytest.fixture(scope="module")
def segmentation(session: Session, model: Segmenter) -> Segmentation:
    """The nuclei of this image at the model's own settings."""
    return session.segment("a", model, {})


@pytest.fixture
def empty(model: Segmenter) -> Segmentation:
    """An image without nuclei."""
    image = opened(np.zeros((30, 40), np.uint8))
    none = Session({"e": image}, {"e": (image, np.zeros((5, 30, 40), np.uint8))})
    return none.segment("e", model, {})
