"""Colour maps are undone, debris hides nothing, and the nuclear channel is known by its objects."""

import cv2
import numpy as np
import pytest

from nuclei.data.nuclear_intensity import (
    FIRE,
    MAPS,
    choose_grey_levels,
    find_colour_map,
    find_fill_values,
    intensities,
    most_nuclear,
)

RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))


def coloured(name: str) -> np.ndarray:
    if name == "fire":
        places = np.linspace(0, 31, 256)
        return (
            np.stack([np.interp(places, range(32), c) for c in FIRE], axis=1).round().astype(np.uint8)[RAMP]
        )
    return cv2.applyColorMap(RAMP, getattr(cv2, f"COLORMAP_{name.upper()}"))[..., ::-1]


@pytest.mark.parametrize("name", MAPS)
def test_each_map_is_found_and_undone(name: str) -> None:
    found = find_colour_map(coloured(name))
    assert found is not None and found[1] == name
    back = found[0](coloured(name))
    # Some maps have a colour more than once.
    assert back.dtype == np.uint8 and np.abs(back.astype(int) - RAMP).max() <= 3
    assert np.array_equal(back, intensities(coloured(name), name))


def test_jpeg_is_no_obstacle() -> None:
    file = cv2.imencode(".jpg", coloured("jet")[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    found = find_colour_map(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])
    assert found is not None and found[1] == "jet"


def test_dyes_stains_and_grey_have_no_colour_map() -> None:
    grey = RAMP[..., None].repeat(3, 2)
    assert find_colour_map(grey) is None
    for colour in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]):
        assert find_colour_map(grey * np.array(colour, np.uint8)) is None
    rng = np.random.default_rng(0)
    stained = 255 * np.exp(
        -rng.gamma(2, 0.2, (40, 40, 2)) @ np.array([[0.65, 0.7, 0.29], [0.07, 0.99, 0.11]])
    )
    assert find_colour_map(stained.astype(np.uint8)) is None
    assert find_colour_map(np.zeros((0, 5, 3), np.uint8)) is None


def cells(blur: float = 1.2) -> dict[str, np.ndarray]:
    """Return drawn channels of 16 bits; nuclei first."""
    rng = np.random.default_rng(0)
    nuclei, bodies = np.zeros((160, 200), np.float32), np.zeros((160, 200), np.float32)
    for y, x in ((30, 30), (40, 150), (80, 90), (120, 40), (130, 160)):
        cv2.circle(nuclei, (x, y), 12, 1, cv2.FILLED)
        cv2.circle(bodies, (x, y), 20, 1, cv2.FILLED)
    drawn = {
        "nuclei": cv2.GaussianBlur(nuclei, (0, 0), blur),
        "diffuse": cv2.GaussianBlur(nuclei, (0, 0), 9),
        "rings": cv2.GaussianBlur(bodies - nuclei, (0, 0), 1),
        "bodies": cv2.GaussianBlur(bodies, (0, 0), 1),
        "membranes": bodies - cv2.erode(bodies, np.ones((5, 5))),
        "spots": cv2.GaussianBlur((rng.random(nuclei.shape) < 0.005).astype(np.float32), (0, 0), 1) * 5,
        "noise": np.zeros_like(nuclei),
    }
    noise = rng.normal(0.1, 0.01, nuclei.shape)
    return {
        name: ((channel + noise) * 3000).clip(0, 65535).astype(np.uint16) for name, channel in drawn.items()
    }


@pytest.mark.parametrize("blur", [1.2, 2.5])
def test_the_channel_that_shows_nuclei_is_known_by_its_objects(blur):
    channels = cells(blur)
    for name in list(channels)[1:]:
        assert most_nuclear([channels[name], channels["nuclei"]]) == 1, name
        assert most_nuclear([channels["nuclei"], channels[name]]) == 0, name
    assert most_nuclear([*list(channels.values())[1:], channels["nuclei"]]) == len(channels) - 1


def test_channels_without_objects_leave_the_first():
    flat = np.full((20, 20), 7, np.uint16)
    assert most_nuclear([flat, flat]) == 0


def grey_levels(image: np.ndarray) -> tuple[np.ndarray, str]:
    convert, warning = choose_grey_levels(image)
    return convert(image), warning


def test_saturated_debris_and_frames_leave_the_nuclei_their_grey_levels():
    nuclei = cells()["nuclei"] // 8
    plain = grey_levels(nuclei)[0].astype(int)
    for mask in (np.s_[:40, :40], np.s_[:30], np.s_[::9, ::9]):
        image = nuclei.copy()
        image[mask] = 65535
        shown, warning = grey_levels(image)
        others = image < 65535
        assert np.ptp(shown[others]) > 100 and "saturated pixels" in warning
        assert np.corrcoef(shown[others], plain[others])[0, 1] > 0.999


def test_8_bits_grey_or_in_colour_are_stretched_where_debris_hides_nuclei():
    nuclei = (cells()["nuclei"] // 128).astype(np.uint8)
    nuclei[:40, :40] = 255
    blue = nuclei[..., None] * np.array([0, 0, 1], np.uint8)
    for image, shown in ((nuclei, lambda a: a), (blue, lambda a: a[..., 2])):
        levels, warning = grey_levels(image)
        assert levels.shape == image.shape and "saturated pixels" in warning
        assert np.ptp(shown(levels)[40:]) > 200
    assert not grey_levels(np.clip(cells()["nuclei"] // 6, 0, 255).astype(np.uint8))[1]


def test_saturated_nuclei_are_no_debris():
    image = np.where(cells()["nuclei"] > 1500, 65535, 300).astype(np.uint16)
    assert set(np.unique(grey_levels(image)[0])) == {0, 255}
    noisy = image - np.random.default_rng(0).integers(0, 100, image.shape, dtype=np.uint16) * (image == 300)
    shown, warning = grey_levels(noisy)
    assert shown[image == 300].max() <= 1 and not warning


def test_the_first_channel_is_not_left_for_a_part_of_its_nuclei_or_for_debris():
    nuclei = cells()["nuclei"]
    part, dust, nucleoli = nuclei.copy(), np.zeros((160, 200), np.float32), np.zeros((160, 200), np.float32)
    part[60:] = np.median(nuclei)
    cv2.circle(dust, (100, 60), 40, 3000, cv2.FILLED)
    for y, x in ((30, 30), (40, 150), (80, 90), (120, 40), (130, 160)):
        cv2.circle(nucleoli, (x, y), 3, 3000, cv2.FILLED)
    for other in (part, dust, nucleoli, (nuclei > 1500).astype(np.uint16), np.zeros((160, 200, 3), np.uint8)):
        assert most_nuclear([nuclei, other]) == 0


def test_saturated_nuclei_on_a_ground_of_light_and_dark_noise_keep_the_scale():
    ground = np.random.default_rng(0).exponential(25, (160, 200))
    image = np.clip(ground + 4 * (cells()["nuclei"] - 330.0), 0, 4095).astype(np.uint16)
    assert 0.004 < np.mean(image == 4095) < 0.2
    shown, warning = grey_levels(image)
    assert not warning and np.percentile(shown[image < 500], 99.5) < 40


def test_maps_are_known_by_colours_alone_wherever_these_are():
    jet = cv2.resize(coloured("jet"), (1000, 1000), interpolation=cv2.INTER_NEAREST)
    jet[:, 0] = 255
    assert find_colour_map(jet)
    for name in ("jet", "viridis"):
        framed = np.full((60, 60, 3), (255, 255, 238), np.uint8)
        framed[:8] = 0
        framed[20:40, 20:40] = coloured(name)[0, 128]
        assert find_colour_map(framed) is None, "a ground, a frame and one colour"


def test_fill_values_are_far_outside_and_known_numbers() -> None:
    values = np.random.default_rng(0).normal(800, 100, (40, 50)).astype(np.float32)
    for fills in ([-9999], [-32768], [1e20], [float(np.finfo(np.float32).min)], [1e30, -9999]):
        filled = values.copy()
        for n, fill in enumerate(fills):
            filled[:, 10 * n : 10 * n + 9] = fill
        assert np.allclose(find_fill_values(filled), fills)
    clipped = np.where(values < 790, -50, values)
    offset = values - 3000
    for other in (values, clipped, offset, values.astype(np.int16), values * np.nan, values[:0]):
        assert find_fill_values(other) == []
