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
from nuclei.data.targets import targets
from nuclei.errors import UserError

Augmentation = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Turns image, labels and a seed into a crop of both; see ``nuclei.data.augment``."""
Crop = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Image ``uint8 (1 or 3, S, S)``, targets ``float32 (C, S, S)``, labels ``int32 (S, S)``."""


class Crops(Dataset[Crop]):
    """Random crops; crop n is a pure function of the seed and n.

    Rare kinds of images are drawn more often: the weight of an image is one over the square root of the
    number of images of the same modality and size. All images are held in memory.
    """

    def __init__(
        self,
        store: Store,
        ids: list[str],
        augment: Augmentation,
        seed: int,
        preprocessing: Preprocessing,
        channels: Sequence[str],
    ) -> None:
        self.images = [preprocess(store.image(i), preprocessing) for i in ids]
        self.channels = list(channels)
        self.labels = [store.labels(i) for i in ids]
        self.classes = [store.classes(i) for i in ids]
        self.augment, self.seed = augment, seed
        strata = [(store.row(i).modality, a.shape[:2]) for i, a in zip(ids, self.images, strict=True)]
        count = Counter(strata)
        weight = np.array([count[stratum] ** -0.5 for stratum in strata])
        self.cumulated = np.cumsum(weight / weight.sum())

    def __getitem__(self, n: int) -> Crop:
        """Return crop ``n``."""
        cv2.setNumThreads(0)  # torch's threads are the ones to use
        chosen, rng = self.draw(n)
        image, labels = self.augment(self.images[chosen], self.labels[chosen], int(rng.integers(2**31)))
        channels_first = np.ascontiguousarray(np.moveaxis(np.atleast_3d(image), 2, 0))
        return (
            torch.from_numpy(channels_first),
            torch.from_numpy(targets(labels, self.channels, self.classes[chosen])),
            torch.from_numpy(labels),
        )

    def draw(self, n: int) -> tuple[int, np.random.Generator]:
        """Return the index of the image of crop ``n``, and the generator for the rest of it."""
        rng = np.random.default_rng((self.seed, n))
        return min(int(np.searchsorted(self.cumulated, rng.random())), len(self.images) - 1), rng


class EpochSampler(Sampler[int]):
    """The numbers of an epoch's samples, the same in a resumed training as in one that never stopped.

    Args:
        per_epoch: samples of an epoch; those behind the last whole batch are left out.
        batch_size: samples of a batch, of all processes together.
        rank: of this process, which takes its share of each batch.
        processes: that train together.
    """

    def __init__(self, per_epoch: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        self.per_epoch, self.batch_size, self.epoch = per_epoch, batch_size, 0
        self.share, self.rank = batch_size // processes, rank

    def set_epoch(self, epoch: int) -> None:
        """Remember the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch // self.batch_size * self.share

    def __iter__(self) -> Iterator[int]:
        for batch in range(self.per_epoch // self.batch_size):
            first = self.epoch * self.per_epoch + batch * self.batch_size + self.rank * self.share
            yield from range(first, first + self.share)


class LabelledImages(Dataset[dict[str, np.ndarray]]):
    """Whole images, preprocessed, with their label maps."""

    def __init__(self, store: Store, ids: list[str], preprocessing: Preprocessing) -> None:
        self.store, self.ids, self.preprocessing = store, ids, preprocessing

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        image_id = self.ids[n]
        image = preprocess(self.store.image(image_id), self.preprocessing)
        return {"image": image, "labels": self.store.labels(image_id)}


class NucleiData(L.LightningDataModule):
    """Training crops and held-out images of one fold.

    Args:
        train_ids: images of the other folds.
        val_ids: images of this fold.
        augment: cuts and varies a crop.
        batch_size: number of crops in a step, of all processes together.
        samples_per_epoch: number of crops in an epoch.
        num_workers: number of loader processes; 0 leaves a small CPU to the network.
        channels: of the targets; see ``nuclei.data.targets``.
        val_crops: number of crops of the held-out images whose loss is measured.
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
        preprocessing: Preprocessing,
        channels: Sequence[str],
        val_crops: int,
    ) -> None:
        super().__init__()
        self.store, self.train_ids, self.val_ids, self.augment = store, train_ids, val_ids, augment
        self.batch_size, self.samples_per_epoch = batch_size, samples_per_epoch
        self.num_workers, self.seed = num_workers, seed
        self.preprocessing, self.channels, self.val_crops = preprocessing, channels, val_crops

    def train_dataloader(self) -> DataLoader[Any]:
        """Return this process's share of each batch of crops.

        Raises:
            UserError: the batches cannot be shared evenly.
        """
        return self.crop_batches(*self._place())

    def crop_batches(self, rank: int = 0, processes: int = 1) -> DataLoader[Any]:
        """Return batches of crops, whole, or the share of one of several processes."""
        if self.batch_size % processes:
            raise UserError(
                f"batch_size={self.batch_size} is of all {processes} devices together: "
                f"choose a multiple of {processes}"
            )
        return DataLoader(
            self._crops(self.train_ids),
            batch_size=self.batch_size // processes,
            sampler=EpochSampler(self.samples_per_epoch, self.batch_size, rank, processes),
            num_workers=self.num_workers,
            persistent_workers=False,  # workers hold no state: a sample is a function of its number
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
        )

    def step_ids(self, step: int) -> list[str]:
        """Return the ImageIds of the crops of a step, counted from 0 over all epochs."""
        epoch, batch = divmod(step, self.samples_per_epoch // self.batch_size)
        first, crops = epoch * self.samples_per_epoch + batch * self.batch_size, self._crops(self.train_ids)
        return [self.train_ids[crops.draw(n)[0]] for n in range(first, first + self.batch_size)]

    def held_out_crops(self) -> DataLoader[Any] | None:
        """Return ``val_crops`` crops of the held-out images, augmented, the same each time; None for 0."""
        if not self.val_crops or not self.val_ids:
            return None
        crops = Subset(self._crops(self.val_ids), range(self.val_crops))
        return DataLoader(crops, batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return this process's share of the held-out images, one at a time as their sizes differ."""
        rank, processes = self._place()
        # Where there are fewer images than processes each takes them all: the mean is the same.
        ids = self.val_ids[rank::processes] if len(self.val_ids) >= processes else self.val_ids
        return DataLoader(
            LabelledImages(self.store, ids, self.preprocessing),
            batch_size=None,
            collate_fn=_identity,
            num_workers=self.num_workers,
        )

    def _place(self) -> tuple[int, int]:
        """Return the rank of this process and the number of those that train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _crops(self, ids: list[str]) -> Crops:
        return Crops(self.store, ids, self.augment, self.seed, self.preprocessing, self.channels)


def _identity(sample: Any) -> Any:
    return sample
