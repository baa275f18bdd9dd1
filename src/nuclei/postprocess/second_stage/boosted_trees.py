"""Boosted decision trees as plain arrays: no library to load, and text that fits into a config."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import astuple, dataclass, fields
from functools import lru_cache

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.objects import sum_of_trees


@dataclass(frozen=True, eq=False)
class Trees:
    """See ``nuclei.labelmap.objects.sum_of_trees`` for the arrays.

    Attributes:
        base: what the leaves are added to.
        features: the columns that a row must have.
    """

    base: float
    features: int
    roots: np.ndarray
    feature: np.ndarray
    value: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return float64 (n,) of float32 (n, features).

        Raises:
            ValueError: the columns are not as many as the trees were grown on.
        """
        if rows.shape[1] != self.features:
            raise ValueError(f"expected {self.features} columns, got {rows.shape[1]}")
        nodes = self.roots, self.feature, self.value, self.left, self.right
        return self.base + sum_of_trees(np.ascontiguousarray(rows, np.float32), *nodes)

    def pack(self) -> str:
        """Write them as text; the same trees give the same text."""
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.array([self.base, self.features], np.float64))
        for array in astuple(self)[2:]:
            np.lib.format.write_array(buffer, array)
        return base64.b64encode(zlib.compress(buffer.getvalue(), 9)).decode()


@lru_cache(maxsize=8)
def unpack(text: str) -> Trees:
    """Read what ``pack`` wrote.

    Raises:
        UserError: the text is damaged.
    """
    try:
        buffer = io.BytesIO(zlib.decompress(base64.b64decode(text, validate=True)))
        first, *arrays = (np.lib.format.read_array(buffer, allow_pickle=False) for _ in fields(Trees)[1:])
        trees = Trees(float(first[0]), int(first[1]), *arrays)
        _check(trees)
    except (ValueError, TypeError, IndexError, zlib.error, EOFError) as e:
        raise UserError(f"the trees of the post-processing are damaged ({e}); make the ensemble again") from e
    return trees


def _check(trees: Trees) -> None:
    """A walk ends, and looks at no feature or node that is not there.

    Raises:
        ValueError: it might not.
    """
    count, inner = len(trees.feature), trees.feature >= 0
    own = np.arange(count)[inner]
    for children in (trees.left, trees.right):
        if len(children) != count or (children[inner] <= own).any() or (children[inner] >= count).any():
            raise ValueError("a node's child is not behind it")
    if len(trees.value) != count or (trees.feature >= trees.features).any():
        raise ValueError("a node looks at no feature")
    if ((trees.roots < 0) | (trees.roots >= count)).any():
        raise ValueError("a root is no node")
