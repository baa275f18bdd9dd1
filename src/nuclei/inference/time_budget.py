"""Keep a time limit by averaging fewer views of the images that are left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from nuclei.inference.segmenter import Segmenter

SECOND_STAGE = 3000  # test images of the competition's second stage
MARGIN = 1.1  # images differ in size, so those that are left may take longer than those that are done


@dataclass
class TimeBudget:
    """Segments images one after another, each with as many views as the time that is left allows.

    Attributes:
        segmenter: with all the views that are wanted.
        total: number of images.
        limit: seconds for all of them; None for no limit.
        clock: seconds, from any beginning.
        done: number of images so far.
        shortened: number of images so far that had fewer views than wanted.
        spent: seconds so far.
    """

    segmenter: Segmenter
    total: int
    limit: float | None = None
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    shortened: int = 0
    spent: float = 0.0
    _passes: int = 0
    _limited: Callable[[int], Segmenter] = field(init=False)

    def __post_init__(self) -> None:
        self._limited = cache(lambda views: limit_views(self.segmenter, views))

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Return labels ``int32 (H, W)`` of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        begin, views = self.clock(), self.views()
        segmenter = self._limited(views)
        labels = segmenter.labels(segmenter.maps(image))
        self.done += 1
        self.shortened += views < self.most_views
        self.spent += self.clock() - begin
        self._passes += passes(segmenter)
        return labels

    @property
    def most_views(self) -> int:
        """The most views that any network averages."""
        return max(member.tta for member in self.segmenter.networks)

    def views(self) -> int:
        """Return the most views with which the images that are left are done in time; at least 1."""
        if self.limit is None or not self._passes:
            return self.most_views
        seconds = MARGIN * self.spent / self._passes * (self.total - self.done)
        left = self.limit - self.spent
        choices = range(1, self.most_views + 1)
        return max((n for n in choices if seconds * passes(self._limited(n)) <= left), default=1)

    def report(self) -> str:
        """Return how quick the segmentation was, and how long ``SECOND_STAGE`` images would take."""
        if not self.done or not self.spent:
            return "no images"
        rate = self.done / self.spent
        cut = f"; {self.shortened} images with fewer views, to keep the time limit" if self.shortened else ""
        return f"{rate:.2f} images per second, {SECOND_STAGE:,} would take {SECOND_STAGE / rate:,.0f} s{cut}"


def limit_views(segmenter: Segmenter, views: int) -> Segmenter:
    """Return a segmenter whose networks average at most ``views`` views."""
    networks = [replace(member, tta=min(member.tta, views)) for member in segmenter.networks]
    return replace(segmenter, networks=networks)


def passes(segmenter: Segmenter) -> int:
    """Return how often networks run for one image: two passes that estimate its zoom, then each view."""
    return sum(member.tta + 2 * (member.diameter is not None) for member in segmenter.networks)
