"""Crops to train on and whole images to validate on."""

import numpy as np
import pytest
import torch

from nuclei.data.datamodule import Crops, EpochSampler, NucleiData
from nuclei.data.preprocessing import preprocess
from nuclei.data.store import Store, write_store
from nuclei.errors import UserError


@pytest.fixture
def store(tmp_path, entry):
    """Ten images with one nucleus each; the first is the only one of its size."""
    rng = np.random.default_rng(0)
    shapes = [(9, 9)] + [(8, 8)] * 9
    images = [rng.integers(0, 90, shape, dtype=np.uint8) for shape in shapes]
    write_store(
        tmp_path / "x.store", [entry(str(n), a, np.ones(a.shape, np.int32)) for n, a in enumerate(images)]
    )
    return Store(tmp_path / "x.store")


@pytest.fixture
def data(store, default_augment):
    ids = store.ids("train")
    return NucleiData(store, ids[:7], ids[7:], default_augment(8), 2, 5, 0, 3, "nuclei", ["nucleus"], 3)


def test_rare_kinds_of_images_are_drawn_more_often_than_their_number(store, plain_augment):
    crops = Crops(store, store.ids("train"), plain_augment(8), 0, "nuclei", ["nucleus"])
    share = np.diff(crops.cumulated, prepend=0)
    assert share[0] == pytest.approx(1 / (1 + 9 / 3)) and share[1:] == pytest.approx([1 / 12] * 9)


def test_a_crop_is_a_function_of_seed_and_number(store, default_augment):
    def make(seed, preprocessing="nuclei"):
        return Crops(
            store, store.ids("train"), default_augment(8), seed, preprocessing, ["nucleus", "border"]
        )

    image, maps, labels = make(1)[5]
    assert image.shape == (1, 8, 8) and maps.shape == (2, 8, 8) and labels.shape == (8, 8)
    assert [a.dtype for a in (image, maps, labels)] == [torch.uint8, torch.float32, torch.int32]
    assert torch.equal(image, make(1)[5][0])
    assert not torch.equal(image, make(1)[6][0]) and not torch.equal(image, make(2)[5][0])
    assert make(1, "nuclei_rgb")[5][0].shape == (3, 8, 8)


def test_a_resumed_epoch_has_the_numbers_it_would_have_had():
    sampler = EpochSampler(3, 1)
    assert list(sampler) == [0, 1, 2] and len(sampler) == 3
    sampler.set_epoch(4)
    assert list(sampler) == [12, 13, 14]


def test_processes_share_each_batch_out():
    whole, shares = EpochSampler(13, 4), [EpochSampler(13, 4, rank, 2) for rank in (0, 1)]
    for sampler in (whole, *shares):
        sampler.set_epoch(2)
    first, second = (np.array(list(sampler)).reshape(3, 2) for sampler in shares)
    assert np.array_equal(np.hstack([first, second]), np.array(list(whole)).reshape(3, 4))
    assert len(whole) == 12 and len(shares[0]) == 6


def test_a_batch_that_cannot_be_shared_evenly_is_refused(data):
    with pytest.raises(UserError, match="batch_size=2 is of all 3 devices together: choose a multiple of 3"):
        data.crop_batches(0, 3)


def test_batches_of_crops_leave_out_the_incomplete_one(data):
    assert [tuple(image.shape) for image, _, _ in data.train_dataloader()] == [(2, 1, 8, 8)] * 2


def test_held_out_crops_are_the_same_each_time(data, store):
    first, again = (torch.cat([image for image, _, _ in data.held_out_crops()]) for _ in range(2))
    assert len(first) == 3 and torch.equal(first, again)
    data.val_crops = 0
    assert data.held_out_crops() is None


def test_held_out_images_come_whole(data, store):
    samples = list(data.val_dataloader())
    assert len(samples) == 3
    assert np.array_equal(samples[0]["image"], preprocess(store.image("7"), "nuclei"))
    assert np.array_equal(samples[0]["labels"], store.labels("7"))
