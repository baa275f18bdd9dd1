"""Otsu's threshold as a network."""

import numpy as np
import pytest

from nuclei.inference.predict_maps import predict
from nuclei.models.otsu import Otsu


def test_otsu_parts_two_levels_and_survives_a_flat_image():
    image = np.full((8, 8), 40, np.uint8)
    image[2:5, 2:5] = 200
    assert np.array_equal(predict(Otsu(), image)[0] > 127, image > 100)
    assert not predict(Otsu(), np.full((8, 8), 40, np.uint8)).any()


def test_it_gives_one_map():
    with pytest.raises(ValueError, match="expected n_channels=1, got 2"):
        Otsu(2)
