"""Every network of the papers learns four images by heart, as it predicts them: in evaluation mode."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.optim.swa_utils import update_bn

from nuclei.data.preprocessing import in_channels
from nuclei.training.losses import Bce, CrossEntropy

STEPS = {
    "arra2018_fcn": 200,
    "arra2018_unet": 60,
    "arra2018_unet_as_written": 150,
    "arra2018_linknet": 30,
    "arra2018_linknet4": 30,
    "barge2019_unet": 120,
    "barge2019_segnet": 60,
    "haigh2018_unet": 30,
    "haigh2018_next": 30,
    "haigh2018_softmax": 30,
    "wang2021_cnn": 40,
    "wang2021_unet": 60,
    "wang2021_resnet": 60,
    "zhao2020_unet1": 100,
    "zhao2020_unet2": 40,
    "zhao2020_unet1_classes": 40,
    "zhao2020_unet2_classes": 40,
    "mask_rcnn": 40,
}
NARROW = {
    "barge2019_segnet": {"width": 0.25},
    "haigh2018_unet": {"features": [16, 32, 64], "decoder": [32, 16]},
    "haigh2018_next": {"features": [16, 32, 64], "decoder": [32, 16]},
    "haigh2018_softmax": {"features": [16, 32, 64], "decoder": [32, 16]},
    "mask_rcnn": {"backbone": "resnet18", "regions": 16},
}
"""Fewer channels than in the papers, for the sake of time."""


def discs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four images of bright discs on a dark, noisy ground, their masks and labels."""
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 1, 64, 64), np.float32)
    for mask in masks:
        for y, x in rng.integers(8, 56, (3, 2)).tolist():
            cv2.circle(mask[0], (x, y), 7, 1, -1)
    labels = np.stack([cv2.connectedComponents(mask[0].astype(np.uint8))[1] for mask in masks])
    images = 0.1 + 0.7 * masks + 0.05 * rng.random(masks.shape, np.float32)
    return torch.from_numpy(images), torch.from_numpy(masks), torch.from_numpy(labels)


@pytest.mark.parametrize("name", STEPS)
def test_four_images_are_learned_by_heart(build, name):
    network, channels = build(name, **NARROW.get(name, {}))
    images, masks, labels = discs()
    images = images.expand(-1, in_channels(network.preprocessing), -1, -1)
    if "background" in channels:
        rest = torch.zeros(4, len(channels) - 2, 64, 64)
        target, loss = torch.cat([1 - masks, masks, rest], 1), CrossEntropy()
    else:
        target, loss = torch.cat([masks, torch.zeros(4, len(channels) - 1, 64, 64)], 1), Bce()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(STEPS[name]):
        optimizer.zero_grad()
        network.train().training_loss(images, target, labels, loss).backward()
        optimizer.step()
    if not network.has_own_loss:
        update_bn([images], network)
    with torch.no_grad():
        maps = network.eval().predict_maps(images)
    nucleus = maps[:, 1 if "background" in channels else 0] > 0.5
    truth = masks[:, 0] > 0
    assert (nucleus & truth).sum() / (nucleus | truth).sum() > 0.8
