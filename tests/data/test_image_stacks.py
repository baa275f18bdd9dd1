"""Which planes of a stack are taken; and that regions of images are what arrays give."""

import tracemalloc

import numpy as np
import pytest

from nuclei.data import image_stacks
from nuclei.data.image_stacks import (
    EVERYTHING,
    UNNAMED,
    PlaneSelection,
    RegionImage,
    Stack,
    busiest_windows,
    channel_of,
    combine,
    image_by_region,
    images_of,
    keep_rows,
    maximum,
    sample_pixels,
    show,
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


@pytest.mark.parametrize(("pages", "colour", "said"), [(3, False, True), (3, True, False), (9, False, False)])
def test_a_few_pages_may_be_channels_and_it_is_said(pages: int, colour: bool, said: bool) -> None:
    planes = np.random.default_rng(0).integers(0, 99, (pages, 4, 5, *([3] if colour else [])), dtype=np.uint8)
    images = images_of(Stack({"Q": pages}, lambda at: planes[at["Q"]], colour), EVERYTHING, "x.tif")
    note = "its 3 pages are separate images, channel=1 to 3 takes one as a channel"
    assert [image.notes for image in images] == [(note,) if said else ()] * pages


@pytest.mark.parametrize("large", [False, True])
def test_numbers_that_stand_for_no_value_set_no_range(large: bool) -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, (80, 90)).astype(np.float32)
    filled = np.pad(values, 20, constant_values=-9999)
    image = RegionImage(filled.shape, filled.dtype, lambda y, x: filled[y, x]) if large else filled
    pixels, shown, notes, warning = show(image)
    assert notes[0] == "pixels of -9999 taken for no values" and not warning  # on margins, which are left out
    assert pixels.dtype == np.float32 and np.isnan(np.asarray(pixels)[0]).all()
    assert np.array_equal(np.asarray(shown)[20:-20, 20:-20], show(values).shown)
    assert show(filled, stored=True).pixels is filled


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


WHOLE = np.arange(60 * 50 * 3, dtype=np.uint16).reshape(60, 50, 3)


class Reader:
    """Reads regions of an array and keeps which ones."""

    def __init__(self, whole):
        self.whole, self.regions = whole, []

    def __call__(self, rows, columns):
        self.regions.append((rows.start, rows.stop, columns.start, columns.stop))
        return self.whole[rows, columns]


@pytest.mark.parametrize(
    "key",
    [
        np.s_[10:20, 5:9],
        np.s_[:, :],
        np.s_[7:],
        np.s_[::7, ::3],
        np.s_[3:50:4, 2:],
        np.s_[-5:, :-40],
        np.s_[9:9, :],
    ],
)
@pytest.mark.parametrize("whole", [WHOLE, WHOLE[..., 0]])
def test_slices_are_those_of_the_array(monkeypatch, key, whole):
    monkeypatch.setattr(image_stacks, "_band", lambda width, step: 3 * step)
    image = image_by_region((60, 50), Reader(whole), large=100)
    assert image.shape == whole.shape and image.dtype == whole.dtype and image.size == whole.size
    assert np.array_equal(image[key], whole[key])
    assert np.array_equal(np.asarray(image), whole)


def test_only_the_region_is_read_and_a_small_image_at_once():
    reader = Reader(WHOLE)
    image = image_by_region((60, 50), reader, large=2999)
    assert isinstance(image, RegionImage)
    image[10:20, 5:9]
    assert reader.regions == [(0, 1, 0, 1), (10, 20, 5, 9)]
    assert image_by_region((60, 50), reader, large=3000) is not image
    assert isinstance(image_by_region((60, 50), reader, large=3000), np.ndarray)


def test_every_kth_pixel_takes_the_memory_of_one_band(monkeypatch):
    monkeypatch.setattr(image_stacks, "_band", lambda width, step: 1000)
    image = RegionImage(
        (20_000, 1000), np.dtype(np.uint8), lambda r, c: np.ones((r.stop - r.start, 1000), np.uint8)
    )
    tracemalloc.start()
    try:
        assert image[::10, ::10].shape == (2000, 100)
        assert tracemalloc.get_traced_memory()[1] < 4e6  # a band has 1 MB, the image 20
    finally:
        tracemalloc.stop()


def test_strips_side_by_side_are_read_once():
    reader = Reader(WHOLE)
    read = keep_rows(reader, 50)
    for columns in (slice(0, 9), slice(9, 50)):
        assert np.array_equal(read(slice(4, 8), columns), WHOLE[4:8, columns])
    assert reader.regions == [(4, 8, 0, 50)]
    assert np.array_equal(read(slice(5, 8), slice(0, 9)), WHOLE[5:8, :9])


def test_a_mapped_image_and_its_sample(monkeypatch):
    monkeypatch.setattr(image_stacks, "SAMPLE", 800)
    reader = Reader(WHOLE)
    green = image_by_region((60, 50), reader, large=0).map(lambda part: part[..., 1])
    assert green.shape == (60, 50) and np.array_equal(green[5:9, 3:8], WHOLE[5:9, 3:8, 1])
    reads = len(reader.regions)
    assert np.array_equal(sample_pixels(green), WHOLE[::2, ::2, 1])
    assert sample_pixels(green) is sample_pixels(green) and len(reader.regions) == reads + 1
    assert np.array_equal(sample_pixels(WHOLE), WHOLE[::2, ::2])
    monkeypatch.setattr(image_stacks, "SAMPLE", 3000)
    assert np.array_equal(sample_pixels(WHOLE), WHOLE)


@pytest.mark.parametrize("large", [0, 10**6])
def test_images_are_combined_by_region(large):
    planes = (image_by_region((60, 50), Reader(p), large) for p in (WHOLE, WHOLE[::-1]))
    highest = combine(planes, lambda parts: np.maximum(*parts))
    assert isinstance(highest, RegionImage) == (large == 0)
    assert np.array_equal(highest[20:30, 5:9], np.maximum(WHOLE, WHOLE[::-1])[20:30, 5:9])


def test_the_windows_with_the_most_contrast_are_found_wherever_they_are() -> None:
    image = np.zeros((410, 620), np.uint8)
    image[110:130, 210:230], image[380:409, 560:619] = 200, 250
    best, second = busiest_windows(image, 100)[:2]
    assert (image[best] == 250).sum() == 29 * 59 and (image[second] == 200).sum() == 400
    for shape in ((30, 50), (1, 600), (400, 1), (2, 2), (1, 1)):
        windows = busiest_windows(np.zeros(shape, np.uint8), 100)
        assert len(windows) == 4 and len({np.zeros(shape)[w].shape for w in windows}) == 1
