"""Random crops."""

import numpy as np
import pytest

from nuclei.data.augment import WholeImage, random_window


@pytest.mark.parametrize("shape", [(40, 300), (256, 256), (1, 1), (519, 161)])
def test_crops_of_any_image_are_repeatable(default_augment, shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, 3, shape).astype(np.int32)
    augment = default_augment(64)
    a, b = augment(image, labels, seed=5)
    assert a.shape == b.shape == (64, 64) and a.dtype == np.uint8 and b.dtype == np.int32
    assert set(np.unique(b)) <= set(np.unique(labels))
    again = augment(image, labels, seed=5)
    assert np.array_equal(a, again[0]) and np.array_equal(b, again[1])
    if shape != (1, 1):
        assert not np.array_equal(a, augment(image, labels, seed=6)[0])


def test_image_and_labels_move_together(default_augment):
    labels = np.zeros((100, 100), np.int32)
    labels[20:70, 30:60] = 1
    augment = default_augment(96, brightness=0.0, gamma=(100, 100), blur=0.0, noise=0.0, invert=0.0)
    for seed in range(20):
        a, b = augment((labels * 200).astype(np.uint8), labels, seed)
        assert ((a > 100) == (b > 0)).mean() > 0.97


def test_a_share_of_the_crops_is_zoomed_to_one_diameter(plain_augment):
    labels = np.zeros((260, 260), np.int32)
    for n in range(100):
        y, x = 26 * (n // 10) + 13, 26 * (n % 10) + 13
        labels[y - 5 : y + 5, x - 5 : x + 5] = n + 1  # as large as a disc of diameter 11.3

    def diameter(seed: int, **settings: float) -> float:
        augment = plain_augment(128, diameter=22.6, **settings)
        _, crop = augment(labels.astype(np.uint8), labels, seed)
        return float(np.sqrt(np.bincount(crop.ravel())[1:].max() * 4 / np.pi))

    assert [diameter(seed, sized=1.0) for seed in range(5)] == pytest.approx([22.6] * 5, rel=0.05)
    assert [diameter(seed, sized=0.0) for seed in range(5)] == pytest.approx([11.3] * 5, rel=0.05)
    assert 10 < sum(diameter(seed, sized=0.5) > 17 for seed in range(40)) < 30


def test_windows_longer_than_the_image_are_mirrored():
    rows = random_window(3, 9, np.random.default_rng(0))
    assert len(rows) == 9 and set(rows) <= {0, 1, 2}
    assert (np.abs(np.diff(rows)) == 1).all()


def test_a_tint_shifts_each_colour_independently(plain_augment):
    image, labels = np.full((16, 16, 3), 100, np.uint8), np.zeros((16, 16), np.int32)
    tint = plain_augment(16, tint=0.1)
    colours = np.stack([tint(image, labels, seed)[0][0, 0] for seed in range(40)]).astype(int)
    assert np.ptp(colours, axis=1).max() > 10 and abs(colours - 100).max() <= 26
    assert (np.ptp(colours, axis=1) == 0).sum() > 5  # half of the crops are left as they are


def test_piecewise_deformation_moves_image_and_labels_alike():
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((16, 16), int)).astype(np.int32)
    image = (labels * 10).astype(np.uint8)
    warp = WholeImage(64, 0.0, 0.0, 0.0, 0.0, 0.0, (0.04, 0.04), 0.0, None)
    a, b = warp(image, labels, 3)
    assert not np.array_equal(b, labels)
    inside = np.abs(a.astype(int) - b * 10) <= 10  # interpolation along the edges
    assert inside.mean() > 0.8
    again = warp(image, labels, 3)
    assert np.array_equal(a, again[0]) and np.array_equal(b, again[1])


def test_a_whole_image_is_resized():
    plain = WholeImage(32, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0, None)
    image, labels = np.full((50, 70, 3), 7, np.uint8), np.full((50, 70), 70_001, np.int32)
    a, b = plain(image, labels, 0)
    assert a.shape == (32, 32, 3) and (a == 7).all() and b.dtype == np.int32 and (b == 70_001).all()


def test_a_window_of_the_whole_image_moves_at_random():
    image = np.arange(64, dtype=np.uint8)[None].repeat(64, 0)
    window = WholeImage(64, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0, 16)
    first_columns = set()
    for seed in range(9):
        a, b = window(image, image.astype(np.int32), seed)
        assert a.shape == b.shape == (16, 16) and np.array_equal(a, b)
        first_columns.add(int(a[0, 0]))
    assert len(first_columns) > 4
