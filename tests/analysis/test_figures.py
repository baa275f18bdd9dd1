"""Intervals, calibration, crowding, suspects and pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from nuclei.analysis.calibration import calibration_error, curve, tally
from nuclei.analysis.confidence_intervals import mean_interval
from nuclei.analysis.error_types import find_errors
from nuclei.analysis.groups import crowding, diameters
from nuclei.analysis.label_suspects import suspects, worst
from nuclei.analysis.pictures import COLOURS, cut, picture


def test_the_interval_is_that_of_independent_images() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    mean, low, high = mean_interval(values, range(400))
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / 20, rel=0.15)


def test_tiles_of_one_picture_are_no_evidence_of_their_own() -> None:
    few = np.random.default_rng(0).normal(0.5, 0.1, 20)
    alone = mean_interval(few, range(20))
    tiles = mean_interval(np.repeat(few, 10), np.repeat(range(20), 10))
    assert tiles.high - tiles.low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_one_group_gives_no_interval() -> None:
    mean, low, high = mean_interval(np.array([0.2, 0.4]), ["a", "a"])
    assert mean == pytest.approx(0.3) and np.isnan(low) and np.isnan(high)


def test_maps_that_are_right_are_calibrated_and_an_honest_guess_is_too() -> None:
    truth = np.zeros((10, 20), np.int32)
    truth[:, :5] = 1
    perfect = np.where(truth > 0, 255, 0).astype(np.uint8)[None]
    assert calibration_error(tally(perfect, ["nucleus"], truth)[0]) == 0
    guess = np.full((1, 10, 20), 64, np.uint8)
    said, true, pixels = curve(tally(guess, ["nucleus"], truth)[0])
    assert (said, true, pixels) == (pytest.approx([64 / 255]), [0.25], [200])
    wrong = 255 - perfect
    assert calibration_error(tally(wrong, ["nucleus"], truth)[0]) == 1


def test_sizes_and_neighbours() -> None:
    labels = np.zeros((20, 40), np.int32)
    labels[2:8, 2:8], labels[2:8, 9:15], labels[2:8, 18:24] = 1, 2, 3
    assert crowding(labels) == pytest.approx(2 / 3)
    np.testing.assert_allclose(diameters(labels), np.sqrt(36 * 4 / np.pi))
    assert crowding(np.zeros((4, 4), np.int32)) == 0


def test_confident_disagreement_comes_first() -> None:
    truth, prediction = np.zeros((2, 12, 30), np.int32)
    truth[2:6, 2:6], truth[2:6, 12:16] = 1, 2
    prediction[2:6, 22:26] = 1
    nucleus = np.zeros((12, 30), np.uint8)
    nucleus[truth == 2], nucleus[prediction == 1] = 102, 230
    found = suspects("x", find_errors(truth, prediction), truth, prediction, nucleus)
    assert {(s.kind, s.label): round(s.suspicion, 3) for s in found} == {
        ("miss", 1): 1.0,
        ("miss", 2): 0.6,
        ("false find", 0): 0.902,
    }
    assert [(s.kind, s.x, s.y, s.area) for s in worst(found, 1)] == [
        ("miss", 3, 3, 16),
        ("false find", 23, 3, 16),
    ]


def pixels(uri: str) -> np.ndarray:
    """Decode a layer."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA"))


def test_errors_are_drawn_in_their_colours() -> None:
    truth, prediction = np.zeros((2, 40, 60), np.int32)
    truth[5:15, 5:15], truth[25:35, 5:15] = 1, 2
    prediction[5:15, 5:15], prediction[5:15, 40:50] = 1, 2
    image = np.random.default_rng(0).integers(0, 9, (40, 60)).astype(np.uint8)
    drawn = picture(image, truth, prediction, find_errors(truth, prediction), side=120)
    assert (drawn.width, drawn.height) == (120, 80)
    rgb = {kind: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for kind, colour in COLOURS.items()}
    layer = pixels(drawn.prediction)
    assert tuple(layer[10, 10]) == (*rgb["match"], 255) and tuple(layer[10, 80]) == (*rgb["false find"], 255)
    assert layer[20, 20, 3] == 0 and layer[60, 20, 3] == 0
    assert tuple(pixels(drawn.truth)[50, 10]) == (*rgb["miss"], 255)
    assert pixels(drawn.image)[..., 0].max() > 200, "the contrast is stretched"


def test_a_window_at_the_edge_stays_inside() -> None:
    labels = np.zeros((100, 200), np.int32)
    assert [labels[cut(labels, y, x, 64)].shape for y, x in ((0, 0), (99, 199), (50, 100))] == [(64, 64)] * 3
    assert labels[cut(labels, 50, 50, 300)].shape == (100, 200)
