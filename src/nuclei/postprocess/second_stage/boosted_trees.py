"""Boosted decision trees, read from LightGBM's text model.

LightGBM grows the trees (``nuclei.ensemble.tree_growing``), and ``lightgbm.Booster(model_str=…)`` reads the
same text with the same predictions. Predicting does without that library: its import takes seconds, and the
compiled sum of trees is the faster one for the few hundred candidates of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.objects import sum_of_trees

NUMERICAL = "2"
"""LightGBM's decision type of a comparison of numbers in which no value is missing."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees as arrays, one after the other; for the arrays see ``nuclei.labelmap.objects.sum_of_trees``.

    Attributes:
        n_features: the number of features that the trees were grown on.
    """

    n_features: int
    roots: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    left: np.ndarray
    right: np.ndarray
    leaves: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the sum of the trees, float64 (n,), for rows of features, float32 (n, n_features).

        Raises:
            ValueError: the rows have more or fewer features than the trees were grown on.
        """
        if rows.shape[1] != self.n_features:
            raise ValueError(f"expected {self.n_features} features, got {rows.shape[1]}")
        arrays = self.roots, self.features, self.thresholds, self.left, self.right, self.leaves
        return sum_of_trees(np.ascontiguousarray(rows, np.float32), *arrays)


@lru_cache(maxsize=8)
def read_trees(text: str) -> Trees:
    """Read the text model of a regression by LightGBM.

    Raises:
        UserError: the text is damaged, or the trees have something but comparisons of numbers and constants.
    """
    try:
        header, *blocks = text.partition("end of trees")[0].split("\nTree=")
        n_features = int(_values(header)["max_feature_idx"]) + 1
        return _joined([_values(block) for block in blocks], n_features)
    except (KeyError, ValueError) as e:
        raise UserError(f"the trees of the post-processing are damaged ({e}); make the ensemble again") from e


def _values(block: str) -> dict[str, str]:
    """Split lines of ``key=value``."""
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}


def _joined(trees: list[dict[str, str]], n_features: int) -> Trees:
    """Put the arrays of all trees behind one another.

    Raises:
        KeyError, ValueError: the trees are none.
    """
    roots, parts, n_nodes, n_leaves = [], [], 0, 0
    for tree in trees:
        features, left, right = (
            np.array(tree[key].split(), np.int32) for key in ("split_feature", "left_child", "right_child")
        )
        thresholds, leaves = (np.array(tree[key].split(), np.float64) for key in ("threshold", "leaf_value"))
        nodes = np.arange(len(features))
        if not len(leaves) - 1 == len(nodes) == len(thresholds) == len(left) == len(right):
            raise ValueError("a tree's arrays have different lengths")
        if set(tree["decision_type"].split()) - {NUMERICAL} or tree["is_linear"] != "0":
            raise ValueError("a tree has something but comparisons of numbers and constants")
        if ((features < 0) | (features >= n_features)).any():
            raise ValueError("a node compares a feature that does not exist")
        for child in (left, right):  # a child behind its parent: so no sum runs in circles
            if ((child >= 0) & (child <= nodes) | (child >= len(nodes)) | (~child >= len(leaves))).any():
                raise ValueError("a node's child is not behind it")
            child += np.where(child >= 0, n_nodes, -n_leaves).astype(np.int32)
        roots.append(n_nodes if len(nodes) else ~n_leaves)
        parts.append((features, thresholds, left, right, leaves))
        n_nodes, n_leaves = n_nodes + len(nodes), n_leaves + len(leaves)
    if not trees:
        raise ValueError("there are none")
    return Trees(n_features, np.array(roots, np.int32), *map(np.concatenate, zip(*parts, strict=True)))
