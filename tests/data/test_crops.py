"""What the network sees: normalised images, targets, random crops."""

import numpy as np
import pytest

from nuclei.data.augment import Augment, _indices
from nuclei.data.intensity import normalise
from nuclei.data.targets import CHANNELS, targets

LABELS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    np.int32,
)


def test_targets_of_two_touching_nuclei():
    maps = dict(zip(CHANNELS, targets(LABELS), strict=True))
    assert np.array_equal(maps["nucleus"], LABELS > 0)
    assert maps["distance"][3, 3] == 1 == maps["distance"][2, 7]
    assert (maps["distance"][LABELS == 0] == 0).all() and (maps["distance"][LABELS > 0] > 0).all()
    assert maps["border"][1:4, 5:7].all(), "where they touch"
    assert maps["border"][1, 1] and maps["border"][5, 3], "the outermost pixels"
    assert not maps["border"][3, 3] and not maps["border"][6, 9]


def test_targets_of_nothing_one_pixel_and_gaps():
    assert not targets(np.zeros((5, 6), np.int32)).any()
    one = np.zeros((5, 6), np.int32)
    one[2, 2] = 7
    assert targets(one)[2, 2, 2] == 1
    assert np.array_equal(targets(LABELS * 1000), targets(LABELS))


def test_a_nucleus_cut_by_the_image_has_no_border_there():
    cut = np.ones((6, 6), np.int32)
    cut[:, 4:] = 0
    assert not targets(cut)[1, :, 0].any()


def test_normalise_shows_nuclei_bright_in_every_modality():
    dark = np.full((40, 40), 10, np.uint8)
    dark[10:20, 10:20] = 60
    out = normalise(dark)
    assert out.dtype == np.uint8 and out[0, 0] == 0 and out[15, 15] == 255
    assert np.array_equal(normalise(255 - dark), out)
    stained = np.full((40, 40, 3), 230, np.uint8)
    stained[10:20, 10:20] = (90, 60, 150)
    assert normalise(stained)[15, 15] == 255 and normalise(stained)[0, 0] == 0


def test_normalise_survives_a_flat_image():
    assert normalise(np.full((4, 4), 9, np.uint8)).max() == 0


@pytest.mark.parametrize("shape", [(40, 300), (256, 256), (1, 1), (519, 161)])
def test_crops_of_any_image_are_repeatable(shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, 3, shape).astype(np.int32)
    augment = Augment(crop=64)
    a, b = augment(image, labels, seed=5)
    assert a.shape == b.shape == (64, 64) and a.dtype == np.uint8 and b.dtype == np.int32
    assert set(np.unique(b)) <= set(np.unique(labels))
    again = augment(image, labels, seed=5)
    assert np.array_equal(a, again[0]) and np.array_equal(b, again[1])
    if shape != (1, 1):
        assert not np.array_equal(a, augment(image, labels, seed=6)[0])


def test_image_and_labels_move_together():
    labels = np.zeros((100, 100), np.int32)
    labels[20:70, 30:60] = 1
    augment = Augment(crop=96, brightness=0.0, gamma=(100, 100), blur=0.0, noise=0.0, invert=0.0)
    for seed in range(20):
        a, b = augment((labels * 200).astype(np.uint8), labels, seed)
        assert ((a > 100) == (b > 0)).mean() > 0.97


def test_windows_longer_than_the_image_are_mirrored():
    at = _indices(3, 9, np.random.default_rng(0))
    assert len(at) == 9 and set(at) <= {0, 1, 2}
    assert (np.abs(np.diff(at)) == 1).all()
