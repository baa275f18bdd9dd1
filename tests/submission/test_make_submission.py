"""The record of how a submission was made, of the code that made it, and the time limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.base import SegmentationNetwork
from nuclei.paths import RunName
from nuclei.postprocess.components import Components
from nuclei.submission import make_submission
from nuclei.submission.make_submission import (
    SubmissionRecord,
    TimeBudget,
    describe_ensemble,
    read_record,
    sha256_of,
    write_record,
)

STEP = {"_target_": "nuclei.postprocess.components.RemoveSmall", "min_area": 29, "trees": "A"}
MEMBERS = (WeightedRun(RunName("unet", "cpu"), 0.75), WeightedRun(RunName("otsu", "x"), 0.0))
ENSEMBLE = EnsembleFile("demo", "0", 2, ("nucleus",), MEMBERS, (STEP,), 0.5, 0.51)


def test_a_record_belongs_to_the_very_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    assert read_record(path) is None
    write_record(path, describe_ensemble(ENSEMBLE, "./run.sh submission 'name=a b'", tmp_path))
    assert read_record(path) == SubmissionRecord(
        command="./run.sh submission 'name=a b'",
        members="unet/cpu",
        weights="0.75",
        postprocess="RemoveSmall(min_area=29,trees=559aead08264)",
        oof_nested="0.5",
        oof_tuned="0.51",
    )
    path.write_text("2")
    assert read_record(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "x", "commit": "y"}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    path.with_suffix(".json").write_text(text.replace('"x"', json.dumps(sha256_of(path))))
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        read_record(path)


def test_a_folder_named_like_a_formula_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    image = tmp_path / "stage1_test/=HYPERLINK(1)/images/x.png"
    image.parent.mkdir(parents=True)
    image.touch()
    with pytest.raises(UserError, match=r"stage1_test.*ImageId '=HYPERLINK\(1\)'.*rename"):
        make_submission.test_images(tmp_path, tmp_path / "no.store")


IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)


class Slow(SegmentationNetwork):
    """Takes ``seconds`` of a clock that stands still otherwise."""

    def __init__(self, seconds: float) -> None:
        super().__init__(1, "grey")
        self.seconds, self.now, self.runs = seconds, 0.0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.now += self.seconds
        self.runs += 1
        return x * 2 - 1


def run(limit: float | None, n: int = 10, views: int = 4) -> tuple[TimeBudget, Slow]:
    network = Slow(1.0)
    segmenter = Segmenter(
        [WeightedNetwork(network, ["nucleus"], 1.0, views)], ["nucleus"], [Components(0.5, 0.5)]
    )
    budget = TimeBudget(segmenter, n, limit, clock=lambda: network.now)
    for _ in range(n):
        budget.labels(IMAGE)
    return budget, network


def test_without_a_limit_all_views_are_averaged() -> None:
    budget, network = run(None)
    assert (network.runs, budget.shortened) == (40, 0)
    assert budget.report() == "0.25 images per second, 3,000 would take 12,000 s"


def test_a_limit_far_off_changes_nothing() -> None:
    assert run(60.0)[1].runs == 40


def test_a_near_limit_takes_views_away_and_is_kept() -> None:
    budget, network = run(25.0)
    assert 10 < network.runs <= 25 and budget.shortened > 0
    assert budget.report().endswith(f"{budget.shortened} images with fewer views, to keep the time limit")


def test_views_come_back_where_there_is_time() -> None:
    budget, network = run(25.0)
    network.seconds = 0.01
    budget.limit, budget.total = 1000.0, 20
    assert budget.views() == 4


def test_a_limit_that_cannot_be_kept_still_gives_each_image_one_view() -> None:
    assert run(0.0)[1].runs == 4 + 9
