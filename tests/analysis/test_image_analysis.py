"""The score and the errors of one image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

from nuclei.analysis.image_analysis import Subject, analyse_image, analyse_images
from nuclei.data.folds import folds_sha256, read_folds
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
    (findings,) = analyse_images(Store(place / "x.store"), both, None, ["image3"], workers=1)
    assert findings.image_id == "image3" and findings.other_precision.size == 0
    alone = analyse_image(Store(place / "x.store"), subject(place, "unet"), None, "image3").precision
    assert np.array_equal(findings.member_precision[0], alone) and len(findings.member_precision) == 2
