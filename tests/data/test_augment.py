"""Random crops."""

import cv2
import numpy as np
import pytest

from nuclei.data.augment import (
    WholeImage,
    blur_nuclei,
    deform,
    light_unevenly,
    random_window,
    recolour,
    vary_nuclei,
    vary_stain,
)


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
    warp = WholeImage(64, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.04, 0.04), 0.0, None)
    a, b = warp(image, labels, 3)
    assert not np.array_equal(b, labels)
    inside = np.abs(a.astype(int) - b * 10) <= 10  # interpolation along the edges
    assert inside.mean() > 0.8
    again = warp(image, labels, 3)
    assert np.array_equal(a, again[0]) and np.array_equal(b, again[1])


def test_a_whole_image_is_resized():
    plain = WholeImage(32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0, None)
    image, labels = np.full((50, 70, 3), 7, np.uint8), np.full((50, 70), 70_001, np.int32)
    a, b = plain(image, labels, 0)
    assert a.shape == (32, 32, 3) and (a == 7).all() and b.dtype == np.int32 and (b == 70_001).all()


def test_a_window_of_the_whole_image_moves_at_random():
    image = np.arange(64, dtype=np.uint8)[None].repeat(64, 0)
    window = WholeImage(64, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0, 16)
    first_columns = set()
    for seed in range(9):
        a, b = window(image, image.astype(np.int32), seed)
        assert a.shape == b.shape == (16, 16) and np.array_equal(a, b)
        first_columns.add(int(a[0, 0]))
    assert len(first_columns) > 4


def test_whole_images_are_displaced_elastically_by_the_stated_pixels():
    ramp = np.arange(240, dtype=np.uint8)[None].repeat(240, 0)
    elastic = WholeImage(240, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 10.0, None)
    moves = np.stack(
        [elastic(ramp, ramp.astype(np.int32), seed)[0].astype(float) - ramp for seed in range(12)]
    )
    assert np.std(moves[:, 40:-40, 40:-40]) == pytest.approx(10, rel=0.25)
    image, labels = elastic(ramp, ramp.astype(np.int32), 0)
    assert np.abs(image.astype(int) - labels)[40:-40, 40:-40].max() <= 2


def test_each_mirroring_has_a_probability_of_its_own():
    image = np.arange(4, dtype=np.uint8).reshape(2, 2)
    horizontal = WholeImage(2, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0, None)
    seen = {horizontal(image, image.astype(np.int32), seed)[0].tobytes() for seed in range(20)}
    assert seen == {image.tobytes(), image[:, ::-1].tobytes()}


@pytest.fixture
def discs():
    """An image of discs of one brightness on a dark ground, and their labels."""
    labels = np.zeros((128, 128), np.int32)
    for n in range(16):
        y, x = np.ogrid[:128, :128]
        labels[(y - 16 - 32 * (n // 4)) ** 2 + (x - 16 - 32 * (n % 4)) ** 2 < 100] = n + 1
    return np.where(labels > 0, 140, 20).astype(np.uint8), labels


@pytest.mark.parametrize(
    "setting",
    [
        {"nucleus_brightness": (0.2, 0.5)},
        {"nucleus_defocus": 0.5},
        {"illumination": 0.3},
        {"stain": 0.3},
        {"recolour": 0.5},
        {"elastic": 3.0},
        {"jpeg": (10, 30)},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_what_is_switched_on_changes_some_crops_and_repeats_itself(plain_augment, discs, setting):
    grey, labels = discs
    colour = np.dstack([grey, grey // 2, grey // 3])
    plain, varied = plain_augment(96), plain_augment(96, **setting)
    changed = 0
    for seed in range(12):
        image, mask = varied(colour, labels, seed)
        assert image.dtype == np.uint8 and mask.dtype == np.int32 and image.shape == (96, 96, 3)
        again = varied(colour, labels, seed)
        assert np.array_equal(image, again[0]) and np.array_equal(mask, again[1])
        assert np.array_equal(mask, plain(colour, labels, seed)[1]) or "elastic" in setting
        changed += not np.array_equal(image, plain(colour, labels, seed)[0])
        assert varied(grey, labels, seed)[0].shape == (96, 96)
    assert 2 <= changed <= 10


def test_a_deformation_moves_image_and_labels_alike_by_pixels(discs):
    image, labels = discs
    deformed, moved = deform(image, labels, 2.0, np.random.default_rng(0))
    assert ((deformed > 80) == (moved > 0)).mean() > 0.99
    ramp = np.broadcast_to(np.arange(128, dtype=np.float32), (128, 128))
    moves = [deform(ramp, labels, 2.0, np.random.default_rng(seed))[0] - ramp for seed in range(9)]
    assert np.std(np.stack(moves)[:, 20:-20, 20:-20]) == pytest.approx(2, rel=0.25)


def test_nuclei_become_dim_beside_bright_and_the_background_stays(discs):
    image, labels = discs
    varied = vary_nuclei(image, labels, (0.2, 1.8), np.random.default_rng(0))
    means = np.array([varied[labels == n].mean() for n in range(1, 17)])
    assert means.min() < 80 < 160 < means.max() and means.min() > 20 + 0.15 * 120
    far = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 5) > 4
    assert (varied[far] == 20).all()
    same = vary_nuclei(image, labels, (1, 1), np.random.default_rng(0))
    assert np.abs(same.astype(int) - image).max() <= 1


def test_a_crop_that_is_one_nucleus_has_no_background_to_compare_with():
    image, labels = np.full((9, 9, 3), 90, np.uint8), np.ones((9, 9), np.int32)
    assert (vary_nuclei(image, labels, (0.5, 0.5), np.random.default_rng(0)) == 45).all()


def test_only_chosen_nuclei_are_blurred(discs):
    image, labels = discs
    blurred = blur_nuclei(image, labels, 0.4, np.random.default_rng(1))
    changed = [not np.array_equal(blurred[labels == n], image[labels == n]) for n in range(1, 17)]
    assert 2 <= sum(changed) <= 12
    assert np.array_equal(blur_nuclei(image, labels, 0.0, np.random.default_rng(0)), image)


def test_light_is_smooth_and_of_the_given_deviation():
    image = np.full((200, 200), 100, np.uint8)
    lit = np.stack([light_unevenly(image, 0.2, np.random.default_rng(seed)) for seed in range(9)]).astype(
        float
    )
    assert lit.std() == pytest.approx(20, rel=0.1)
    assert np.abs(np.diff(lit, axis=1)).max() <= 5


def test_stains_vary_but_grey_stays_grey_and_strength_0_changes_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 250, (20, 20, 3), dtype=np.uint8)
    grey = np.repeat(image[..., :1], 3, 2)
    assert np.array_equal(vary_stain(grey, 0.3, rng), grey) and vary_stain(grey[..., 0], 0.3, rng).ndim == 2
    assert np.abs(vary_stain(image, 0.0, rng).astype(int) - image).max() <= 5  # rounded as hue
    varied = vary_stain(image, 0.3, rng).astype(int)
    assert 5 < np.abs(varied - image).mean() < 60


def test_colours_are_dropped_and_grey_is_tinted():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    dropped = recolour(image, rng)
    assert (dropped == dropped[..., :1]).all()
    tinted = recolour(dropped, rng)
    assert np.array_equal(tinted.max(2), dropped[..., 0]) and not np.array_equal(tinted, dropped)
    assert np.array_equal(recolour(image[..., 0], rng), image[..., 0])
