"""Images and masks as they come."""

from collections import Counter

import cv2
import numpy as np
import pytest

from nuclei.data import image_decoding as decode
from nuclei.errors import UserError


def png(a):
    return cv2.imencode(".png", a)[1].tobytes()


def mask(*rows):
    return np.array([[255 if c == "#" else 0 for c in row] for row in rows], np.uint8)


def test_alpha_is_dropped_and_equal_channels_become_grey():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 9)])
    assert np.array_equal(decode.image(png(rgba), "x"), grey)
    assert np.array_equal(decode.image(png(grey), "x"), grey)


def test_colour_comes_as_rgb():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(decode.image(png(rgb[..., ::-1]), "x"), rgb)


def test_sixteen_bits_fill_eight():
    a = np.array([[1000, 2000, 3000]], np.uint16)
    assert decode.image(png(a), "x").tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("data", [b"", b"not a png", png(np.zeros((4, 4), np.uint8))[:40]])
def test_damage_names_the_file(data):
    with pytest.raises(UserError, match=r"a/b.png is damaged"):
        decode.image(data, "a/b.png")


def labels_of(*masks, shape=(3, 6)):
    counts = Counter()
    return decode.labels(((f"{n}.png", png(m)) for n, m in enumerate(masks)), shape, counts), counts


def test_labels_number_the_masks():
    labels, counts = labels_of(mask("##....", "##....", "......"), mask("...##.", "......", "......"))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[1, 1, 0, 2, 2, 0], [1, 1, 0, 0, 0, 0], [0] * 6]
    assert not +counts


def test_the_smaller_nucleus_keeps_shared_pixels_whichever_comes_first():
    big, small = mask("#####.", "#####.", "......"), mask(".##...", "......", "......")
    one, counts = labels_of(big, small)
    other, _ = labels_of(small, big)
    assert one[0].tolist() == [1, 2, 2, 1, 1, 0]
    assert np.array_equal(one > 0, other > 0) and (other[0, 1:3] == 1).all()
    assert counts["overlapping"] == 1


def test_a_nucleus_under_a_copy_of_itself_leaves_no_gap_in_the_numbers():
    a, b = mask("##....", "......", "......"), mask("....##", "......", "......")
    labels, counts = labels_of(a, a, b)
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert counts["covered"] == 1


def test_empty_and_wrong_size_masks_are_left_out_and_pieces_stay_together():
    labels, counts = labels_of(
        np.zeros((3, 6), np.uint8), np.full((2, 2), 255, np.uint8), mask("#....#", "......", "......")
    )
    assert labels[0].tolist() == [1, 0, 0, 0, 0, 1]
    assert +counts == {"empty": 1, "of another size": 1, "in several pieces": 1}


def test_an_image_may_be_covered_to_the_last_pixel():
    labels, _ = labels_of(mask("###...", "###...", "###..."), mask("...###", "...###", "...###"))
    assert sorted(np.unique(labels)) == [1, 2]
    labels, _ = labels_of(mask("######", "######", "######"), mask("######", "######", "######"))
    assert np.unique(labels).tolist() == [1]


def test_a_damaged_mask_is_named():
    with pytest.raises(UserError, match=r"mask 0.png is damaged"):
        decode.labels([("0.png", b"junk")], (3, 6), Counter())
