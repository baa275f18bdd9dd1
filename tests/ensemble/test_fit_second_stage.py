"""Trees of the second stage: their examples, and scores that are honest."""

from __future__ import annotations

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from nuclei.data.targets import CHANNELS
from nuclei.ensemble.fit_second_stage import examples, fit_selection, grow_trees, second_stage
from nuclei.ensemble.oof import Case, Evaluator, Setting
from nuclei.ensemble.tune import Tuned
from nuclei.postprocess.components import RemoveSmall
from nuclei.postprocess.second_stage import SHIFTS, Selection
from nuclei.postprocess.watershed import MapWatershed

HALVES = ("low", "high", "border_weight", "distance_weight", "marker_threshold")
PLAIN = dict.fromkeys(HALVES, 0.5) | {"sigma": 1.0}
ONE = Setting((1.0,))


@pytest.fixture(scope="module")
def full(disc_cases: list[Case]) -> Evaluator:
    return Evaluator(disc_cases, CHANNELS, [MapWatershed(**PLAIN), RemoveSmall(20)])


def test_the_same_seed_grows_the_same_trees_and_they_fit_the_target() -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    targets = (rows[:, 0] > 0) * 0.5 + (rows[:, 3] > 1) * 0.25
    text = grow_trees(rows, targets, seed=3)
    assert grow_trees(rows, targets, seed=3) == text
    assert np.abs(lightgbm.Booster(model_str=text).predict(rows) - targets).mean() < 0.01


def test_examples_are_the_shares_of_thresholds(full: Evaluator) -> None:
    case = full.cases[0]
    rows, target = examples(Selection(**PLAIN), case, (1.0,), CHANNELS)
    assert rows.dtype == np.float32 and len(rows) == len(target)
    assert set(np.round(target * 10).astype(int)) <= set(range(11)) and 0 < target.mean() < 1
    same = Case(
        np.repeat(case.truth[None, None].astype(bool), 3, 1).astype(np.uint8) * 255,
        (case.truth > 0).astype(int),
    )
    _, exact = examples(replace(Selection(**PLAIN), border_weight=0.0, sigma=0.0), same, (1.0,), CHANNELS)
    assert len(exact) >= len(SHIFTS)


def test_the_score_of_a_fold_does_not_depend_on_its_truth(full: Evaluator) -> None:
    folds = [n % 3 for n in range(12)]
    tuned = Tuned(
        ONE, np.zeros((12, 10)), np.zeros((12, 10)), np.zeros((12, 10)), dict.fromkeys(range(3), ONE)
    )
    _, first = second_stage(full, folds, tuned, 0)
    cases = [Case(c.maps, c.truth * (n % 3 != 0)) for n, c in enumerate(full.cases)]
    other = Evaluator(cases, CHANNELS, full.steps)
    _, second = second_stage(other, folds, tuned, 0)
    rest = np.array(folds) > 0
    assert not np.array_equal(first.nested[rest], second.nested[rest])  # their trees saw fold 0 as it is now
    others = [n for n in range(12) if folds[n]]
    assert fit_selection(full, ONE, others, 0) == fit_selection(other, ONE, others, 0)
    assert first.nested[~rest].mean() > 0.3 > second.nested[~rest].mean()
