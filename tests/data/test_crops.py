"""What the network sees: normalised images, targets, random crops."""

import numpy as np
import pytest

from nuclei.data.augment import Augment, _indices
from nuclei.data.datamodule import Crops
from nuclei.data.preprocessing import in_channels, normalise, preprocess
from nuclei.data.store import Store, encode_image, encode_labels, write_store
from nuclei.data.targets import CHANNELS, border_weights, targets
from nuclei.data.whole_image import WholeImage

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


def test_a_share_of_the_crops_is_zoomed_to_one_diameter():
    labels = np.zeros((260, 260), np.int32)
    for n in range(100):
        y, x = 26 * (n // 10) + 13, 26 * (n % 10) + 13
        labels[y - 5 : y + 5, x - 5 : x + 5] = n + 1  # as large as a disc of diameter 11.3

    def diameter(seed: int, **settings: float) -> float:
        augment = Augment(crop=128, scale=(1, 1), spread=(1, 1), stretch=0, diameter=22.6, **settings)
        _, crop = augment(labels.astype(np.uint8), labels, seed)
        return float(np.sqrt(np.bincount(crop.ravel())[1:].max() * 4 / np.pi))

    assert [diameter(seed, sized=1.0) for seed in range(5)] == pytest.approx([22.6] * 5, rel=0.05)
    assert [diameter(seed, sized=0.0) for seed in range(5)] == pytest.approx([11.3] * 5, rel=0.05)
    assert 10 < sum(diameter(seed, sized=0.5) > 17 for seed in range(40)) < 30


def test_rare_kinds_of_images_are_drawn_more_often_than_their_number(tmp_path):
    rng = np.random.default_rng(0)

    def rows():
        for n in range(10):
            shape = (8, 8) if n else (9, 9)
            pixels, labels = rng.integers(0, 90, shape, dtype=np.uint8), np.ones(shape, np.int32)
            row = {"ImageId": str(n), "split": "train", "modality": "fluorescence", "nuclei": 1}
            row |= {"height": shape[0], "width": shape[1], "channels": 1}
            yield row, encode_image(pixels), encode_labels(labels)

    write_store(tmp_path / "x.store", rows())
    crops = Crops(Store(tmp_path / "x.store"), [str(n) for n in range(10)], Augment(crop=8), seed=0)
    share = np.diff(crops.cumulated, prepend=0)
    assert share[0] == pytest.approx(1 / (1 + 9 / 3)) and share[1:] == pytest.approx([1 / 12] * 9)


def test_windows_longer_than_the_image_are_mirrored():
    at = _indices(3, 9, np.random.default_rng(0))
    assert len(at) == 9 and set(at) <= {0, 1, 2}
    assert (np.abs(np.diff(at)) == 1).all()


def test_looks_of_a_network():
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 90
    assert (preprocess(red, "grey") == 30).all() and preprocess(red, "rgb") is red
    assert (preprocess(255 - red, "grey") == 30).all()  # bright on average, so inverted
    assert preprocess(red[..., 0], "rgb").shape == (4, 5, 3)
    assert np.array_equal(preprocess(red, "nuclei"), normalise(red))


def test_colours_are_shown_each_as_the_one_that_tells_nuclei():
    stained = np.random.default_rng(0).integers(100, 255, (9, 9, 3), dtype=np.uint8)
    shown = preprocess(stained, "nuclei_rgb")
    assert all(np.array_equal(shown[..., c], normalise(stained[..., [c, c, c]])) for c in range(3))
    grey = preprocess(stained[..., 0] // 4, "nuclei_rgb")
    assert np.array_equal(grey, normalise(stained[..., 0] // 4)[..., None].repeat(3, 2))
    assert [in_channels(kind) for kind in ("nuclei", "grey", "rgb", "nuclei_rgb")] == [1, 1, 3, 3]


def test_a_tint_shifts_each_colour_by_itself():
    image, labels = np.full((16, 16, 3), 100, np.uint8), np.zeros((16, 16), np.int32)
    tint = Augment(16, (1, 1), None, 0.0, (1, 1), 0.0, 0.0, (100, 100), 0.0, 0.0, 0.0, tint=0.1)
    seen = np.stack([tint(image, labels, seed)[0][0, 0] for seed in range(40)]).astype(int)
    assert np.ptp(seen, axis=1).max() > 10 and abs(seen - 100).max() <= 26
    assert (np.ptp(seen, axis=1) == 0).sum() > 5  # half of the crops are left as they are


def test_background_makes_the_channels_exclusive():
    labels = np.zeros((12, 12), np.int32)
    labels[2:6, 2:10], labels[6:10, 2:10] = 1, 2
    maps = targets(labels, ["background", "nucleus", "border"])
    assert (maps.sum(0) == 1).all()
    assert maps[2, 5, 5] == 1 and maps[1, 3, 5] == 1 and maps[0, 0, 0] == 1


def test_border_weights_are_the_formula_and_highest_in_narrow_gaps():
    labels = np.zeros((20, 40), np.int32)
    labels[5:15, 4:15], labels[5:15, 18:30] = 1, 2
    weight = border_weights(labels)
    assert weight[10, 16] == pytest.approx(1 + 10 * np.exp(-((2 + 2) ** 2) / 50), rel=0.02)
    assert weight[10, 8] == 1 and weight[0, 39] < 1.1 < weight[10, 17]
    assert (border_weights(labels * (labels == 1)) == 1).all()
    touching = np.repeat(np.repeat([[1, 2]], 6, 0), 6, 1)
    assert border_weights(touching)[3, 5] > 5


def test_piecewise_deformation_moves_image_and_labels_alike():
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((16, 16), int)).astype(np.int32)
    image = (labels * 10).astype(np.uint8)
    warp = WholeImage(64, 0.0, 0.0, 0.0, 0.0, 0.0, (0.04, 0.04), 0.0)
    a, b = warp(image, labels, 3)
    assert not np.array_equal(b, labels)
    inside = np.abs(a.astype(int) - b * 10) <= 10  # interpolation along the edges
    assert inside.mean() > 0.8
    again = warp(image, labels, 3)
    assert np.array_equal(a, again[0]) and np.array_equal(b, again[1])


def test_a_whole_image_comes_at_the_asked_size():
    plain = WholeImage(32, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), 0.0)
    image, labels = np.full((50, 70, 3), 7, np.uint8), np.full((50, 70), 70_001, np.int32)
    a, b = plain(image, labels, 0)
    assert a.shape == (32, 32, 3) and (a == 7).all() and b.dtype == np.int32 and (b == 70_001).all()


def test_offsets_say_where_in_its_nucleus_a_pixel_lies():
    labels = np.zeros((6, 10), np.int32)
    labels[1:5, 1:5], labels[1:5, 5:9] = 3, 7
    y, x, centre = targets(labels, ["offset_y", "offset_x", "centre"])
    assert x[2].tolist() == [0.5, 0.125, 0.375, 0.625, 0.875, 0.125, 0.375, 0.625, 0.875, 0.5]
    assert y[:, 3].tolist() == [0.5, 0.125, 0.375, 0.625, 0.875, 0.5]
    assert centre[2:4, 2:4].all() and not centre[1].any() and not centre[:, 4:6].any()
