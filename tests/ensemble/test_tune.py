"""The search finds a planted optimum, and no nested score depends on the fold it is of."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nuclei.data.folds import FoldRow
from nuclei.ensemble.oof import Case, Evaluator, Setting
from nuclei.ensemble.tune import (
    Effort,
    Images,
    Range,
    Space,
    candidates,
    ensemble_of,
    in_cube,
    on_simplex,
    stratified,
    tunable,
    tune,
    tune_members,
)
from nuclei.postprocess.components import Components, RemoveSmall

STEPS = [Components(low=0.5, high=0.5), RemoveSmall(min_area=1)]
RANGES = {"low": Range(0.05, 0.9), "min_area": Range(1, 60, log=True, integer=True)}
DEFAULT = Setting((0.5, 0.5), (("low", 0.5), ("min_area", 1)))
SPACE = Space(RANGES, DEFAULT)
EFFORT = Effort(trials=24, refine=4, finalists=2, seed=1)
FOLDS = [0, 1, 2] * 3


def case(seed: int) -> Case:
    """Discs at 0.42 on a background of 0.12 to 0.2, with specks of 6 pixels; a second member is noise."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((40, 40), np.int32)
    for label, (y, x) in enumerate([(10, 10), (10, 29), (29, 10), (29, 29)], start=1):
        cv2.circle(truth, (x + int(generator.integers(-2, 3)), y), int(generator.integers(4, 7)), label, -1)
    good = np.where(truth > 0, 107, generator.integers(30, 51, truth.shape)).astype(np.uint8)
    good[[0, 0, 38, 38], [0, 20, 0, 20]] = 107
    noise = generator.integers(0, 256, truth.shape).astype(np.uint8)
    return Case(np.stack([good, noise])[:, None], truth)


def images(cases: list[Case], **changes: object) -> Images:
    evaluator = Evaluator(cases, ["nucleus"], STEPS, workers=2)
    return replace(Images(evaluator, evaluator, range(len(cases)), FOLDS), **changes)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(seed) for seed in range(9)]


def test_a_planted_optimum_is_found(cases: list[Case]) -> None:
    tuned = tune(SPACE, images(cases), EFFORT, "test")
    chosen = dict(tuned.setting.parameters)
    assert tuned.default.mean() < 0.3
    assert tuned.nested.mean() > 0.9 and tuned.on_all.mean() > 0.9
    assert tuned.setting.weights[0] > 0.7 and chosen["low"] < 0.5 and chosen["min_area"] > 1


def test_no_choice_depends_on_the_fold_it_is_scored_on(cases: list[Case]) -> None:
    """Spoil all images of a fold: the setting chosen without that fold stays as it was."""
    before = tune(SPACE, images(cases), EFFORT, "test")
    for fold in (0, 1, 2):
        spoilt = [
            replace(c, truth=np.roll(c.truth, 9, axis=0)) if k == fold else c
            for c, k in zip(cases, FOLDS, strict=True)
        ]
        after = tune(SPACE, images(spoilt), EFFORT, "test")
        assert after.by_fold[fold] == before.by_fold[fold]
        held_out = np.array(FOLDS) == fold
        assert after.nested[held_out].mean() < before.nested[held_out].mean()


def test_nested_is_each_fold_under_the_setting_of_the_others(cases: list[Case]) -> None:
    planted = images(cases)
    tuned = tune(SPACE, planted, EFFORT, "test")
    assert sorted(tuned.by_fold) == [0, 1, 2]
    for i, fold in enumerate(FOLDS):
        np.testing.assert_array_equal(tuned.nested[i], planted.full.precision(tuned.by_fold[fold], [i])[0])


def test_the_default_wins_ties() -> None:
    nothing = Case(np.zeros((2, 1, 8, 8), np.uint8), np.zeros((8, 8), np.int32))
    tuned = tune(SPACE, images([nothing] * 9), EFFORT, "test")
    assert tuned.setting == DEFAULT and set(tuned.by_fold.values()) == {DEFAULT}
    assert tuned.nested.mean() == 1


def test_the_same_seed_gives_the_same_choice(cases: list[Case]) -> None:
    first, second = (tune(SPACE, images(cases), EFFORT, "test") for _ in range(2))
    assert first.setting == second.setting and first.by_fold == second.by_fold


def test_weights_that_are_not_free_stay(cases: list[Case]) -> None:
    space = Space(RANGES, replace(DEFAULT, weights=(1.0, 0.0)), free_weights=False)
    tuned = tune(space, images(cases), EFFORT, "test")
    assert {s.weights for s in [tuned.setting, *tuned.by_fold.values()]} == {(1.0, 0.0)}


def test_nothing_to_search_is_the_default(cases: list[Case]) -> None:
    tuned = tune(Space({}, Setting((1.0, 0.0)), free_weights=False), images(cases), EFFORT, "test")
    assert tuned.setting == Setting((1.0, 0.0))


def test_a_sample_has_every_stratum() -> None:
    strata = ["a"] * 90 + ["b"] * 9 + ["c"]
    chosen = stratified(strata, 20, seed=0)
    assert len(chosen) == len(set(chosen)) == 21
    assert [sum(strata[i] == s for i in chosen) for s in "abc"] == [18, 2, 1]
    assert stratified(strata, 1000, seed=0) == list(range(100))


def test_members_alone_are_scored_beside_the_ensemble(cases: list[Case]) -> None:
    rows = [FoldRow(str(i), fold, i, "grey", 40, 40, 4) for i, fold in enumerate(FOLDS)]
    full = Evaluator(cases, ["nucleus"], STEPS, workers=2)
    tuned, scores = tune_members(["a/x", "b/x"], full, rows, RANGES, DEFAULT.parameters, EFFORT, 9, 40)
    rows_of_table = [(score.name, score.setting) for score in scores]
    settings = ("nested", "tuned on all", "default")
    assert rows_of_table == [(name, s) for name in ("ensemble", "a/x", "b/x") for s in settings]
    means = {score.name: score.precision.mean() for score in scores if score.setting == "nested"}
    assert means["ensemble"] == tuned.nested.mean() > 0.9 > max(means["a/x"], means["b/x"])


def test_an_ensemble_has_the_weights_that_were_chosen(cases: list[Case]) -> None:
    tuned = tune(SPACE, images(cases), EFFORT, "test")
    ensemble = ensemble_of(tuned, "demo", FOLDS, "sha", ["a/x", "b/x"], ["nucleus"], STEPS)
    assert tuple(member.weight for member in ensemble.members) == pytest.approx(tuned.setting.weights)
    assert ensemble.n_folds == 3 and ensemble.nested == round(float(tuned.nested.mean()), 4)
    assert ensemble.steps[1] == {"_target_": "nuclei.postprocess.components.RemoveSmall", "min_area": 1}


def test_candidates_start_with_the_default_and_fill_the_space() -> None:
    points = np.array(candidates(SPACE, 64, seed=3))
    assert points.shape == (64, 3)
    np.testing.assert_allclose(points[0], SPACE.point(DEFAULT))
    assert ((points >= 0) & (points <= 1)).all()
    assert (np.histogram(points[1:, 2], bins=4, range=(0, 1))[0] >= 14).all()
    assert candidates(SPACE, 1, seed=3) == [SPACE.point(DEFAULT)]


@pytest.mark.parametrize("r", [Range(0, 2), Range(0.1, 10, log=True), Range(3, 80, log=True, integer=True)])
def test_a_range_is_reached_from_end_to_end_and_undone(r: Range) -> None:
    assert (r.at(0), r.at(1)) == (r.low, r.high)
    for u in np.linspace(0, 1, 11):
        assert r.at(r.where(r.at(u))) == r.at(u)
    assert (r.where(-5), r.where(500)) == (0, 1)


def test_parameters_that_the_steps_lack_are_passed_over() -> None:
    ranges = {"low": {"low": 0.1, "high": 0.9}, "sigma": {"low": 0, "high": 3}}
    ranges["min_area"] = {"low": 4, "high": 90, "log": True, "integer": True}
    known, values = tunable(ranges, [Components(low=0.3, high=0.5), RemoveSmall(min_area=7)])
    assert known == {"low": Range(0.1, 0.9), "min_area": Range(4, 90, log=True, integer=True)}
    assert values == (("low", 0.3), ("min_area", 7))


def test_a_setting_and_its_point_are_the_same() -> None:
    setting = Setting((0.25, 0.75), (("low", 0.4), ("min_area", 20)))
    assert SPACE.setting(SPACE.point(setting)) == setting and SPACE.dimensions == 3


@given(st.lists(st.floats(0, 1), max_size=5))
def test_any_point_of_the_cube_is_on_the_simplex(cube: list[float]) -> None:
    weights = on_simplex(cube)
    assert len(weights) == len(cube) + 1
    assert min(weights) >= 0 and sum(weights) == pytest.approx(1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_weights_come_back_from_the_cube(shares: list[int]) -> None:
    weights = [share / sum(shares) for share in shares]
    assume(weights[-1] > 0.02)
    assert on_simplex(in_cube(weights)) == pytest.approx(weights, abs=0.003)


def test_uniform_numbers_give_uniform_weights() -> None:
    """On the simplex of three weights each has mean 1/3 and variance 1/18."""
    points = np.random.default_rng(0).random((20000, 2))
    weights = np.array([on_simplex(point) for point in points])
    np.testing.assert_allclose(weights.mean(axis=0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(weights.var(axis=0), 1 / 18, atol=0.003)
