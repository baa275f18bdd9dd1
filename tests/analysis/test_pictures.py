"""Pictures of images and their errors."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from nuclei.analysis.error_types import find_errors
from nuclei.analysis.image_analysis import Findings
from nuclei.analysis.pictures import COLOURS, best_and_worst, draw, window_around


def pixels(uri: str) -> np.ndarray:
    """Decode a layer."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA"))


def test_errors_are_drawn_in_their_colours() -> None:
    truth, prediction = np.zeros((2, 40, 60), np.int32)
    truth[5:15, 5:15], truth[25:35, 5:15] = 1, 2
    prediction[5:15, 5:15], prediction[5:15, 40:50] = 1, 2
    image = np.random.default_rng(0).integers(0, 9, (40, 60)).astype(np.uint8)
    drawn = draw(image, truth, prediction, find_errors(truth, prediction), side=120)
    assert (drawn.width, drawn.height) == (120, 80)
    rgb = {kind: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for kind, colour in COLOURS.items()}
    layer = pixels(drawn.prediction)
    assert tuple(layer[10, 10]) == (*rgb["match"], 255) and tuple(layer[10, 80]) == (*rgb["false find"], 255)
    assert layer[20, 20, 3] == 0 and layer[60, 20, 3] == 0
    assert tuple(pixels(drawn.truth)[50, 10]) == (*rgb["miss"], 255)
    assert pixels(drawn.image)[..., 0].max() > 200, "the contrast is stretched"


def test_a_window_at_the_edge_stays_inside() -> None:
    labels = np.zeros((100, 200), np.int32)
    windows = [window_around(y, x, labels.shape, 64) for y, x in ((0, 0), (99, 199), (50, 100))]
    assert [labels[window].shape for window in windows] == [(64, 64)] * 3
    assert labels[window_around(50, 50, labels.shape, 300)].shape == (100, 200)


def test_no_image_is_among_both_the_best_and_the_worst(findings: list[Findings]) -> None:
    best, worst = best_and_worst(findings[:3], 4)
    assert [f.image_id for f in best] == ["image3"]
    assert [f.image_id for f in worst] == ["image1", "image2"]
    crowded = replace(findings[0], image_id="crowded", nuclei=(300, 1))
    assert best_and_worst([*findings, crowded], 1)[1] == [crowded]
