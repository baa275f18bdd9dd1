"""The score and the errors of one image, and annotations that confident maps contradict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra.utils import instantiate

from nuclei.analysis.error_types import find_errors
from nuclei.analysis.image_analysis import (
    Subject,
    analyse_image,
    find_suspects,
    mask_file,
    most_suspicious,
)
from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.sources.demo import Demo
from nuclei.data.store import Store
from nuclei.ensemble.oof import load_oof


@pytest.fixture
def place(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> Path:
    """Runs on eight images of three discs, two of them touching."""
    return draw_runs(tmp_path)


def subject(place: Path, *models: str) -> Subject:
    """Load runs with the post-processing of the first, and average them."""
    rows, sha256 = read_folds(place / "folds.csv"), folds_sha256(place / "folds.csv")
    runs = [place / "runs" / "demo" / model / "default" for model in models]
    members = tuple(load_oof(run, rows, sha256) for run in runs)
    steps = json.loads((runs[0] / "fold0" / "config.json").read_text())["postprocess"]["steps"]
    weights = (1 / len(runs),) * len(runs)
    return Subject(models[0], members, weights, members[0].channels, tuple(map(instantiate, steps)))


def test_a_merge_of_two_of_three_nuclei(place: Path) -> None:
    findings = analyse_image(
        Store(place / "x.store"), subject(place, "otsu"), subject(place, "unet"), "image0"
    )
    assert findings.counts["merge"] == 1 and findings.nuclei == (3, 2)
    assert findings.precision.tolist() == [0.25] * 10 and findings.mended["merge"].tolist() == [1] * 10
    assert findings.crowding == pytest.approx(2 / 3) and len(findings.diameters) == 3
    assert findings.member_precision.shape == (0, 10) and findings.other_precision.mean() > 0.25
    assert findings.calibration.shape == (1, 256, 2) and findings.calibration[..., 0].sum() == 32 * 36


def test_each_member_of_an_ensemble_is_scored_alone(place: Path) -> None:
    both = subject(place, "unet", "linknet")
    assert both.calibrated == ["nucleus", "border", "distance"] and "MapWatershed" in both.postprocessing
    findings = analyse_image(Store(place / "x.store"), both, None, "image3")
    assert findings.image_id == "image3" and findings.other_precision.size == 0
    alone = analyse_image(Store(place / "x.store"), subject(place, "unet"), None, "image3").precision
    assert np.array_equal(findings.member_precision[0], alone) and len(findings.member_precision) == 2


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
