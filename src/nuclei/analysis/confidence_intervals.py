"""Confidence intervals: tiles of one picture are no independent evidence, so groups are drawn, not images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap


class Interval(NamedTuple):
    """A mean with its 95 % interval; the ends are NaN where one group alone gives none."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: np.ndarray, groups: Sequence[object], resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean over images and its percentile bootstrap interval, drawing whole groups.

    For two runs, give the differences of their scores image by image: that is the paired interval.

    Args:
        values: float (n,), one for each image.
        groups: the group of each image, as in the folds file.
        resamples: how often groups are drawn.
        seed: of the draws.

    >>> mean_interval(np.array([0.5, 0.5, 0.5]), [1, 1, 2])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    _, at = np.unique(np.asarray(groups, str), return_inverse=True)
    sums, sizes = np.bincount(at, values), np.bincount(at).astype(float)
    mean = float(np.mean(values))
    if len(sums) < 2:
        return Interval(mean, float("nan"), float("nan"))
    found = bootstrap(
        (sums, sizes),
        lambda a, n, axis: a.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))
