"""A time limit is kept by fewer views, and only then."""

from __future__ import annotations

import numpy as np
import torch

from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.inference.time_budget import TimeBudget
from nuclei.models.base import SegmentationNetwork
from nuclei.postprocess.components import Components

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
