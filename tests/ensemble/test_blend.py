"""Weighted means, and weights on the simplex."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nuclei.ensemble.blend import blend, in_cube, on_simplex, shared_channels
from nuclei.errors import UserError


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_uint8_maps_against_exact_fractions(seed: int, members: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [generator.integers(0, 256, (2, 3, 4), np.uint8) for _ in range(members)]
    weights = [Fraction(int(x), 1) for x in generator.integers(1, 100, members)]
    weights = [w / sum(weights) for w in weights]
    exact = sum(
        (m.astype(object) * w for m, w in zip(maps, weights, strict=True)), start=np.array(Fraction(0))
    )
    got = blend(maps, [float(w) for w in weights])
    assert got.dtype == np.uint8
    assert (abs(got.astype(object) - exact) <= Fraction(1, 2) + Fraction(1, 10**4)).all()


@given(st.integers(0, 2**32 - 1))
def test_float_maps_stay_float_and_within_bounds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [generator.random((1, 3, 3)), np.ones((1, 3, 3), np.float16), np.ones((1, 3, 3), np.float32)]
    weights = generator.dirichlet([1, 1, 1])
    got = blend(maps, weights.tolist())
    assert got.dtype == np.float32 and got.max() <= 1
    np.testing.assert_allclose(got, np.average(maps, axis=0, weights=weights), atol=1e-6)


def test_one_member_and_weight_zero_change_nothing() -> None:
    a, b = np.full((1, 2, 2), 77, np.uint8), np.full((1, 2, 2), 200, np.uint8)
    np.testing.assert_array_equal(blend([a], [1.0]), a)
    np.testing.assert_array_equal(blend([a, b], [0.0, 1.0]), b)
    assert blend([a], [1.0]) is not a


def test_what_does_not_go_together_is_refused() -> None:
    a = np.zeros((1, 2, 2), np.uint8)
    for weights in ([0.5, 0.4], [1.5, -0.5], [1.0]):
        with pytest.raises(ValueError, match="sum 1"):
            blend([a, a], weights)
    for other in (a[:, :1], a.astype(np.float32)):
        with pytest.raises(ValueError, match="one shape and dtype"):
            blend([a, other], [0.5, 0.5])


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


def test_shared_channels_keep_the_first_order() -> None:
    assert shared_channels([("border", "nucleus", "distance"), ("nucleus", "border")]) == (
        "border",
        "nucleus",
    )
    with pytest.raises(UserError, match="no channel nucleus in all runs"):
        shared_channels([("nucleus",), ("border",)])
