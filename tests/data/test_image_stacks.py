"""Which planes of a stack are taken."""

import numpy as np
import pytest

from nuclei.data.image_stacks import (
    EVERYTHING,
    UNNAMED,
    PlaneSelection,
    Stack,
    channel_of,
    images_of,
    maximum,
)
from nuclei.errors import UserError

PLANES = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 2, 2)  # T C, two by two pixels each


def stack(**options) -> Stack:
    return Stack({"T": 2, "C": 3}, lambda at: PLANES[at["T"], at["C"]], **options)


def taken(selection: PlaneSelection = EVERYTHING, **options) -> list[list[list[int]]]:
    return [image.pixels.tolist() for image in images_of(stack(**options), selection, "x.tif")]


def test_the_nuclear_channel_is_known_by_name_or_other_metadata() -> None:
    for name in ("DAPI", "Hoechst 33342", "H2B-GFP", "DRAQ5", "Nuclei"):
        assert taken(channels=["WGA", "FITC", name]) == PLANES[:, 2].tolist()
    assert taken(nuclear=1) == PLANES[:, 1].tolist()
    assert taken() == PLANES[:, 0].tolist()
    assert taken(PlaneSelection("fitc", t=2), channels=["WGA", "FITC", "DAPI"]) == [PLANES[1, 1].tolist()]
    assert taken(PlaneSelection(405), channels=["488", "ex 405", "640"]) == PLANES[:, 1].tolist()
    with pytest.raises(UserError, match=r"x\.tif: channel=4: there is no such one of 1 to 3"):
        taken(PlaneSelection(4), channels=["488", "405", "640"])


def test_without_names_the_channel_that_looks_like_nuclei_is_taken_and_it_is_said() -> None:
    rows, columns = np.mgrid[:80, :80]
    distance = np.hypot(rows - 40, columns - 40)
    disc, haze = 1 / (1 + np.exp(distance - 14)), np.exp(-((distance / 25) ** 2))
    planes = np.round([haze * 900, disc * 500]).astype(np.uint16)
    unnamed = Stack({"C": 2}, lambda at: planes[at["C"]])
    (image,) = images_of(unnamed, EVERYTHING, "x.tif")
    assert np.array_equal(image.pixels, planes[1]) and image.warnings == (UNNAMED,)
    assert image.notes == ("channel 2 of 2: channel2 of channel1, channel2",)
    (chosen,) = images_of(unnamed, PlaneSelection(1), "x.tif")
    assert np.array_equal(chosen.pixels, planes[0]) and not chosen.warnings


def test_every_channel_can_be_read() -> None:
    first, second = images_of(stack(channels=["a", "", "a"]), PlaneSelection(), "x.tif")
    assert first.channels == ("a", "channel2", "a_3") and second.suffix == "_t2"
    assert [second.read_channel(n).tolist() for n in range(3)] == PLANES[1].tolist()


def test_channels_of_arrays() -> None:
    last, first = np.zeros((9, 8, 3)), np.zeros((3, 9, 8))
    last[..., 2] = first[2] = 1
    assert channel_of(last, "blue").all() and channel_of(last, 3).all() and channel_of(first, 3).all()
    four = np.arange(5 * 6 * 4).reshape(5, 6, 4) % 4
    assert (channel_of(four, 4) == 3).all() and (channel_of(four, "green") == 1).all()
    with pytest.raises(ValueError, match="expected an array"):
        channel_of(np.zeros((3, 3)), 1)


def test_the_maximum_passes_over_what_is_no_number() -> None:
    assert maximum(iter([np.array([np.nan, 1]), np.array([2, np.nan])])).tolist() == [2, 1]
