"""Keep a time limit by averaging fewer views of the images that are left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from nuclei.inference.segmenter import Segmenter

MARGIN = 1.1  # images differ in size, so what is left may take longer than what is done


@dataclass
class Pace:
    """Segments images one after another, each with as many views as the time that is left allows.

    Attributes:
        segmenter: with all the views that are wanted.
        total: number of images.
        limit: seconds for all of them; None for no limit.
        clock: seconds, from any beginning.
        done: images so far.
        short: images so far that had fewer views than wanted.
    """

    segmenter: Segmenter
    total: int
    limit: float | None = None
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    short: int = 0
    spent: float = 0.0
    _passes: int = 0
    _capped: Callable[[int], Segmenter] = field(init=False)

    def __post_init__(self) -> None:
        self._capped = cache(self._cap)

    def labels(self, image: np.ndarray) -> np.ndarray:
        """``int32 (H, W)`` labels of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        begin, views = self.clock(), self.views()
        segmenter = self._capped(views)
        labels = segmenter.labels(segmenter.maps(image))
        self.done += 1
        self.short += views < self.most
        self.spent += self.clock() - begin
        self._passes += passes(segmenter)
        return labels

    @property
    def most(self) -> int:
        """The most views that any network averages."""
        return max(voter.tta for voter in self.segmenter.voters)

    def views(self) -> int:
        """The most views with which the images that are left are done in time; at least 1."""
        if self.limit is None or not self._passes:
            return self.most
        each = MARGIN * self.spent / self._passes * (self.total - self.done)
        fitting = [
            n for n in range(1, self.most + 1) if each * passes(self._capped(n)) <= self.limit - self.spent
        ]
        return max(fitting, default=1)

    def _cap(self, views: int) -> Segmenter:
        voters = [replace(voter, tta=min(voter.tta, views)) for voter in self.segmenter.voters]
        return replace(self.segmenter, voters=voters)

    def report(self, other_total: int = 3000) -> str:
        """Say how quick it was, and how long so many images would take."""
        if not self.done or not self.spent:
            return "no images"
        rate = self.done / self.spent
        cut = f"; {self.short} images with fewer views, to keep the time limit" if self.short else ""
        return f"{rate:.2f} images per second, {other_total:,} would take {other_total / rate:,.0f} s{cut}"


def passes(segmenter: Segmenter) -> int:
    """How often the networks are run for one image: two passes that find its zoom, then each view."""
    return sum(voter.tta + 2 * (voter.diameter is not None) for voter in segmenter.voters)
