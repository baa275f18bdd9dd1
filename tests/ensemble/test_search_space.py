"""The space of settings: ranges, points of the cube, and the parameters that steps have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nuclei.ensemble.evaluate import Setting
from nuclei.ensemble.search_space import Range, Space, candidates, in_cube, on_simplex, tunable
from nuclei.postprocess.components import Components, RemoveSmall

RANGES = {"low": Range(0.05, 0.9), "min_area": Range(1, 60, log=True, integer=True)}
DEFAULT = Setting((0.5, 0.5), (("low", 0.5), ("min_area", 1)))
SPACE = Space(RANGES, DEFAULT)


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
