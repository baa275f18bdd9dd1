"""A time limit is kept by fewer views, and only then."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nuclei.inference.networks import Voter
from nuclei.inference.segmenter import Segmenter
from nuclei.inference.time_budget import Pace
from nuclei.postprocess.components import Components

IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)


class Slow(nn.Module):
    """Takes ``seconds`` of a clock that stands still otherwise."""

    stride, preprocessing, size = 1, "grey", None

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.now, self.runs = seconds, 0.0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.now += self.seconds
        self.runs += 1
        return x * 2 - 1


def run(limit: float | None, n: int = 10, views: int = 4) -> tuple[Pace, Slow]:
    network = Slow(1.0)
    segmenter = Segmenter([Voter(network, ["nucleus"], 1.0, views)], ["nucleus"], [Components(0.5, 0.5)])
    pace = Pace(segmenter, n, limit, clock=lambda: network.now)
    for _ in range(n):
        pace.labels(IMAGE)
    return pace, network


def test_without_a_limit_all_views_are_averaged() -> None:
    pace, network = run(None)
    assert (network.runs, pace.short) == (40, 0)
    assert pace.report() == "0.25 images per second, 3,000 would take 12,000 s"


def test_a_limit_far_off_changes_nothing() -> None:
    assert run(60.0)[1].runs == 40


def test_a_near_limit_takes_views_away_and_is_kept() -> None:
    pace, network = run(25.0)
    assert 10 < network.runs <= 25 and pace.short > 0
    assert pace.report().endswith(f"{pace.short} images with fewer views, to keep the time limit")


def test_views_come_back_where_there_is_time() -> None:
    pace, network = run(25.0)
    network.seconds = 0.01
    pace.limit, pace.total = 1000.0, 20
    assert pace.views() == 4


def test_a_limit_that_cannot_be_kept_still_gives_each_image_one_view() -> None:
    assert run(0.0)[1].runs == 4 + 9
