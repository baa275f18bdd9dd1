"""What networks see of an image."""

from functools import partial

import numpy as np
import pytest

from nuclei.data.preprocessing import (
    ImageHints,
    choose_preprocessing,
    guess_modality,
    in_channels,
    judge_modality,
    preprocess,
    stretch_contrast,
    to_8_bits,
)
from nuclei.errors import UserError

normalise = partial(preprocess, preprocessing="nuclei")


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


def test_preprocessing_of_grey_and_rgb_networks():
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 90
    assert (preprocess(red, "grey") == 30).all() and preprocess(red, "rgb") is red
    assert (preprocess(255 - red, "grey") == 30).all()  # bright on average, so inverted
    assert preprocess(red[..., 0], "rgb").shape == (4, 5, 3)
    assert np.array_equal(preprocess(red, "nuclei"), normalise(red))


def test_each_colour_is_normalised_as_red_is():
    stained = np.random.default_rng(0).integers(100, 255, (9, 9, 3), dtype=np.uint8)
    channels = preprocess(stained, "nuclei_rgb")
    assert all(np.array_equal(channels[..., c], normalise(stained[..., [c, c, c]])) for c in range(3))
    grey = preprocess(stained[..., 0] // 4, "nuclei_rgb")
    assert np.array_equal(grey, normalise(stained[..., 0] // 4)[..., None].repeat(3, 2))
    assert [in_channels(kind) for kind in ("nuclei", "grey", "rgb", "nuclei_rgb")] == [1, 1, 3, 3]


def test_modality():
    dark = np.full((4, 4), 20, np.uint8)
    stained = np.full((4, 4, 3), (220, 150, 200), np.uint8)
    images = (dark, 255 - dark, stained, np.dstack([dark] * 3), np.dstack([dark * 0, dark * 0, dark * 9]))
    kinds = ["fluorescence", "brightfield", "histology", "fluorescence", "fluorescence"]
    assert [guess_modality(a) for a in images] == kinds


def test_a_tail_on_the_wrong_side_of_the_median_decides():
    dark_tail = np.r_[np.full(90, 100), np.arange(10)].astype(np.uint8).reshape(10, 10)
    bright_tail = np.r_[np.full(90, 150), np.arange(240, 250)].astype(np.uint8).reshape(10, 10)
    assert judge_modality(dark_tail) == ("brightfield", False)
    assert judge_modality(bright_tail) == ("fluorescence", False)
    both_tails = np.linspace(0, 255, 100).astype(np.uint8).reshape(10, 10)
    assert judge_modality(both_tails)[1]


def test_the_competitions_images_are_shown_as_ever():
    rng = np.random.default_rng(0)
    stained = rng.integers(80, 255, (40, 50, 3), dtype=np.uint8)
    stretched = [stretch_contrast(255 - stained[..., c]) for c in range(3)]
    assert np.array_equal(preprocess(stained, "nuclei_rgb"), np.stack(stretched, axis=2))
    dark = rng.gamma(2, 8, (40, 50)).astype(np.uint8)
    assert np.array_equal(preprocess(dark, "nuclei"), stretch_contrast(dark))


def test_other_types_become_8_bits_without_outliers():
    values = np.r_[np.arange(1000, 2000), 60000].astype(np.uint16).reshape(1, -1)
    scaled, warning = to_8_bits(values)
    assert scaled[0, 0] == 0 and scaled[0, -1] == 255 and scaled[0, 999] > 80 and "1 pixels" in warning
    assert to_8_bits(np.array([[False, True]]))[0].tolist() == [[0, 255]]
    assert to_8_bits(np.array([[7, 9]], np.uint8))[0].tolist() == [[7, 9]]
    assert to_8_bits(np.full((2, 2), 5.0))[0].max() == 0


def test_contrast_is_stretched_between_percentiles_of_any_shape():
    image = np.arange(50, 150, dtype=np.uint8).reshape(5, 10, 2)
    levels = stretch_contrast(image, 10, 90).ravel()
    assert levels[9] == 0 and levels[-10] == 255 and levels[-1] == 255
    assert 0 < levels[12] < levels[49] < levels[87] < 255
    assert abs(int(levels[49]) - 127) <= 2


@pytest.mark.parametrize(
    ("preprocessing", "hints"),
    [
        ("rgb", ImageHints(invert=True)),
        ("rgb", ImageHints(modality="histology")),
        ("plain", ImageHints(invert=False)),
        ("grey", ImageHints(modality="brightfield")),
    ],
)
def test_a_hint_without_effect_is_refused(preprocessing, hints):
    with pytest.raises(UserError, match="has no effect: this model sees images as they are"):
        choose_preprocessing(np.zeros((4, 4), np.uint8), preprocessing, hints)
    choose_preprocessing(np.zeros((4, 4), np.uint8), "grey", ImageHints(invert=True))
