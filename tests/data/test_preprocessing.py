"""What networks see of an image."""

import numpy as np

from nuclei.data.preprocessing import guess_modality, in_channels, normalise, preprocess, stretch_contrast


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
    images = (dark, 255 - dark, np.dstack([dark] * 3))
    assert [guess_modality(a) for a in images] == ["fluorescence", "brightfield", "histology"]


def test_contrast_is_stretched_between_percentiles_of_any_shape():
    image = np.arange(50, 150, dtype=np.uint8).reshape(5, 10, 2)
    levels = stretch_contrast(image, 10, 90).ravel()
    assert levels[9] == 0 and levels[-10] == 255 and levels[-1] == 255
    assert 0 < levels[12] < levels[49] < levels[87] < 255
    assert abs(int(levels[49]) - 127) <= 2
