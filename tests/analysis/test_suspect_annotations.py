"""Annotations that confident maps contradict."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nuclei.analysis.error_types import find_errors
from nuclei.analysis.suspect_annotations import find_suspects, mask_file, most_suspicious
from nuclei.data.sources.demo import Demo


def test_confident_disagreement_comes_first() -> None:
    truth, prediction = np.zeros((2, 12, 30), np.int32)
    truth[2:6, 2:6], truth[2:6, 12:16] = 1, 2
    prediction[2:6, 22:26] = 1
    nucleus = np.zeros((12, 30), np.uint8)
    nucleus[truth == 2], nucleus[prediction == 1] = 102, 230
    suspects = find_suspects("x", find_errors(truth, prediction), truth, prediction, nucleus)
    assert {(s.error_type, s.label): round(s.suspicion, 3) for s in suspects} == {
        ("miss", 1): 1.0,
        ("miss", 2): 0.6,
        ("false find", 0): 0.902,
    }
    assert [(s.error_type, s.x, s.y, s.area) for s in most_suspicious(suspects, 1)] == [
        ("miss", 3, 3, 16),
        ("false find", 23, 3, 16),
    ]


def test_the_mask_file_of_a_nucleus(tmp_path: Path) -> None:
    source = Demo(tmp_path / "demo", seed=1, n_train=1, n_test=1)
    source.fetch()
    (item,) = source.items("train")
    wanted = item.masks[3]
    nucleus = cv2.imread(wanted, cv2.IMREAD_GRAYSCALE) > 0
    assert mask_file(item, nucleus) == Path(wanted).name
    assert mask_file(item, np.zeros_like(nucleus)) == "none of its masks"
