"""Trees that are read from LightGBM's text, against LightGBM."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.ensemble.tree_growing import N_TREES, grow_trees
from nuclei.errors import UserError
from nuclei.postprocess.second_stage.boosted_trees import read_trees


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2000, 5)).astype(np.float32).round(1)


@pytest.fixture(scope="module")
def text(rows: np.ndarray) -> str:
    return grow_trees(rows, np.sin(rows[:, 0] * 2) * (rows[:, 1] > 0), seed=0)


def test_predictions_are_those_of_lightgbm(rows: np.ndarray, text: str) -> None:
    trees = read_trees(text)
    assert len(trees.roots) == N_TREES
    np.testing.assert_array_equal(trees.predict(rows), lightgbm.Booster(model_str=text).predict(rows))
    with pytest.raises(ValueError, match="expected 5 features, got 4"):
        trees.predict(rows[:, :4])


def test_a_tree_may_be_a_single_leaf() -> None:
    rows = np.zeros((100, 2), np.float32)
    text = grow_trees(rows, np.full(100, 0.25), seed=0)
    np.testing.assert_allclose(read_trees(text).predict(rows), 0.25)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("tree\n", "", None),
        ("max_feature_idx=4", "", "max_feature_idx"),
        ("max_feature_idx=4", "max_feature_idx=0", "a feature that does not exist"),
        ("decision_type=2", "decision_type=1", "something but comparisons of numbers"),
        ("is_linear=0", "is_linear=1", "something but comparisons of numbers"),
        ("left_child=1", "left_child=0", "child is not behind it"),
        ("left_child=1", "left_child=999", "child is not behind it"),
        ("left_child=1", "left_child=-999", "child is not behind it"),
        ("left_child=1", "left_child=1 1", "different lengths"),
        ("leaf_value=", "leaf_value=x", "could not convert"),
        ("Tree=", "Trees=", "there are none"),
    ],
)
def test_damaged_trees_are_refused(text: str, old: str, new: str, problem: str | None) -> None:
    assert old in text
    if problem is None:  # a line that nobody reads
        read_trees(text.replace(old, new))
        return
    with pytest.raises(UserError, match=f"the trees of the post-processing are damaged .*{problem}"):
        read_trees(text.replace(old, new))


@given(st.text(max_size=50))
def test_text_that_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="are damaged"):
        read_trees(text)
