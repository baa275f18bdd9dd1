"""What every data set offers."""

import numpy as np
import pytest

from nuclei.data.sources import SPLITS, Item


class Plain(Item):
    """An image that answers no more than it must."""

    def read_image(self):
        return np.full((2, 3), 200, np.uint8)

    def read_labels(self, shape, counts):
        return np.zeros(shape, np.int32)


def test_an_item_has_no_parent_but_itself_no_classes_and_a_modality_of_its_pixels():
    item = Plain("a", SPLITS[0])
    assert item.parent == "a" and item.classes(np.ones((2, 3), np.int32)) == []
    assert item.modality(item.read_image()) == "brightfield"


def test_an_item_must_read_image_and_labels():
    with pytest.raises(TypeError, match="read_image"):
        Item("a", "train")
