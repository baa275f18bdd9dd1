"""Score settings on images: blend, post-process, compare with the truth; nothing is computed twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from nuclei.ensemble.blend import blend
from nuclei.metrics import confusion, precision_at
from nuclei.postprocess.pipeline import postprocess, with_parameters


@dataclass(frozen=True)
class Setting:
    """One choice of everything that is tuned: equal settings give equal scores.

    Attributes:
        weights: one for each member, on the simplex.
        parameters: (name, value) of the post-processing parameters that differ from the config's steps.
    """

    weights: tuple[float, ...]
    parameters: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Case:
    """An image to score on: uint8 (members, C, H, W) maps, and the integer (H, W) truth."""

    maps: np.ndarray
    truth: np.ndarray

    def middle(self, size: int) -> Case:
        """Cut out the middle, at most ``size`` by ``size`` pixels; nearly as telling as the whole."""
        top, left = (max(0, (n - size) // 2) for n in self.truth.shape)
        window = (..., slice(top, top + size), slice(left, left + size))
        return Case(np.ascontiguousarray(self.maps[window]), np.ascontiguousarray(self.truth[window]))


class Evaluator:
    """Remembers the precision of each setting on each case.

    Threads share the maps; OpenCV, NumPy and the watershed let go of the interpreter while they work.

    Args:
        cases: the images.
        channels: names of the maps.
        steps: the post-processing; a setting's parameters replace its fields.
        workers: number of threads.
    """

    def __init__(
        self, cases: Sequence[Case], channels: Sequence[str], steps: Sequence[Any], workers: int = 1
    ) -> None:
        self.cases, self.channels, self.steps, self.workers = (
            list(cases),
            tuple(channels),
            list(steps),
            workers,
        )
        self._known: dict[Setting, np.ndarray] = {}

    def precision(self, setting: Setting, images: Iterable[int]) -> np.ndarray:
        """Return the precision at the ten thresholds, float64 (images, 10), computing what is not known."""
        table = self._known.setdefault(setting, np.full((len(self.cases), 10), np.nan))
        wanted = np.fromiter(images, int)
        todo = wanted[np.isnan(table[wanted, 0])]
        steps = with_parameters(self.steps, dict(setting.parameters))
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(self.workers) as pool:
            found = pool.map(lambda i: _precision(self.cases[i], setting.weights, self.channels, steps), todo)
            for i, precision in zip(todo, found, strict=True):
                table[i] = precision
        return table[wanted]

    def score(self, setting: Setting, images: Iterable[int]) -> float:
        """Return the mean average precision over ``images``."""
        return float(self.precision(setting, images).mean())


def _precision(
    case: Case, weights: Sequence[float], channels: Sequence[str], steps: Sequence[Any]
) -> np.ndarray:
    labels = postprocess(blend(case.maps, weights), channels, steps)
    return precision_at(confusion(case.truth, labels))
