"""Crops to train on and whole images to validate on, for Lightning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from nuclei.data.preprocessing import Preprocessing, preprocess
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS, targets

Augmentation = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


Crop = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Crops(Dataset[Crop]):
    """Sample number n is one random crop: a pure function of the seed and n.

    Rare kinds of images are drawn more often: an image's weight is one over the root of how many images
    have its modality and its size.

    Args:
        store: where the images are.
        ids: the images to draw from; held in memory.
        augment: cuts and varies a crop.
        seed: of everything random.
        preprocessing: how images are shown; see ``nuclei.data.preprocessing.preprocess``.
        channels: of the targets; see ``nuclei.data.targets``.
    """

    def __init__(
        self,
        store: Store,
        ids: list[str],
        augment: Augmentation,
        seed: int,
        preprocessing: Preprocessing = "nuclei",
        channels: Sequence[str] = CHANNELS,
    ) -> None:
        self.images = [preprocess(store.image(i), preprocessing) for i in ids]
        self.channels = list(channels)
        self.labels = [store.labels(i) for i in ids]
        self.classes = [store.classes(i) for i in ids]
        self.augment, self.seed = augment, seed
        strata = [(store.row(i)["modality"], a.shape[:2]) for i, a in zip(ids, self.images, strict=True)]
        count = Counter(strata)
        weight = np.array([count[stratum] ** -0.5 for stratum in strata])
        self.cumulated = np.cumsum(weight / weight.sum())

    def __getitem__(self, n: int) -> Crop:
        """Crop ``n``: image ``uint8 (1 or 3, S, S)``, targets ``(C, S, S)``, labels ``int32 (S, S)``."""
        cv2.setNumThreads(0)  # torch's threads are the ones to use
        rng = np.random.default_rng((self.seed, n))
        at = min(int(np.searchsorted(self.cumulated, rng.random())), len(self.images) - 1)
        image, labels = self.augment(self.images[at], self.labels[at], int(rng.integers(2**31)))
        planes = np.ascontiguousarray(np.moveaxis(np.atleast_3d(image), 2, 0))
        return (
            torch.from_numpy(planes),
            torch.from_numpy(targets(labels, self.channels, self.classes[at])),
            torch.from_numpy(labels),
        )


class Numbers(Sampler[int]):
    """Counts through the samples of an epoch; a resumed epoch gets the numbers it would have had."""

    def __init__(self, per_epoch: int) -> None:
        self.per_epoch, self.epoch = per_epoch, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.per_epoch, (self.epoch + 1) * self.per_epoch))


class WholeImages(Dataset[dict[str, Any]]):
    """Whole images with their label maps."""

    def __init__(self, store: Store, ids: list[str], preprocessing: Preprocessing) -> None:
        self.store, self.ids, self.preprocessing = store, ids, preprocessing

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, n: int) -> dict[str, Any]:
        image_id = self.ids[n]
        return {
            "image": preprocess(self.store.image(image_id), self.preprocessing),
            "labels": self.store.labels(image_id),
        }


class NucleiData(L.LightningDataModule):
    """The two loaders of one fold.

    Args:
        store: where the images are.
        train_ids: images of the other folds.
        val_ids: images of this fold.
        augment: cuts and varies a crop.
        batch_size: crops in a step.
        samples_per_epoch: crops in an epoch.
        num_workers: loader processes; 0 leaves a small CPU to the network.
        seed: of the crops.
        preprocessing: how images are shown.
        channels: of the targets.
        val_crops: crops of the held-out images whose loss is measured.
    """

    def __init__(
        self,
        store: Store,
        train_ids: list[str],
        val_ids: list[str],
        augment: Augmentation,
        batch_size: int,
        samples_per_epoch: int,
        num_workers: int,
        seed: int,
        preprocessing: Preprocessing = "nuclei",
        channels: Sequence[str] = CHANNELS,
        val_crops: int = 0,
    ) -> None:
        super().__init__()
        self.store, self.train_ids, self.val_ids, self.augment = store, train_ids, val_ids, augment
        self.batch_size, self.samples_per_epoch = batch_size, samples_per_epoch
        self.num_workers, self.seed = num_workers, seed
        self.preprocessing, self.channels, self.val_crops = preprocessing, channels, val_crops

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of crops."""
        return DataLoader(
            Crops(self.store, self.train_ids, self.augment, self.seed, self.preprocessing, self.channels),
            batch_size=self.batch_size,
            sampler=Numbers(self.samples_per_epoch),
            num_workers=self.num_workers,
            persistent_workers=False,  # workers hold no state: a sample is a function of its number
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
        )

    def held_out_crops(self) -> DataLoader[Any] | None:
        """The same crops of held-out images, varied as in training, each time; None where none are wanted."""
        if not self.val_crops or not self.val_ids:
            return None
        crops = Crops(self.store, self.val_ids, self.augment, self.seed, self.preprocessing, self.channels)
        return DataLoader(Subset(crops, range(self.val_crops)), batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole images, one at a time: sizes differ."""
        return DataLoader(
            WholeImages(self.store, self.val_ids, self.preprocessing),
            batch_size=None,
            collate_fn=_as_is,
            num_workers=self.num_workers,
        )


def _as_is(sample: Any) -> Any:
    """Leave a sample's arrays as arrays."""
    return sample
