"""The class of each nucleus, from the maps whose names begin with ``class_``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PREFIX = "class_"
ONLY = "nucleus"  # what all are called where the maps know no classes


def class_names(channels: Sequence[str]) -> list[str]:
    """Names of the classes that maps with these channels tell apart, at least one.

    >>> class_names(["nucleus", "class_epithelial", "class_other"]), class_names(["nucleus"])
    (['epithelial', 'other'], ['nucleus'])
    """
    return [c.removeprefix(PREFIX) for c in channels if c.startswith(PREFIX)] or [ONLY]


def classify(labels: np.ndarray, maps: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Give each nucleus the class whose map is highest on average within it.

    Args:
        labels: ``int32 (H, W)``, 1..N.
        maps: ``uint8 (C, H, W)``.
        channels: names of the maps.

    Returns:
        ``int64 (N,)``: for nucleus n at n - 1 its place in ``class_names``; the first of equals.
    """
    count = int(labels.max(initial=0))
    of_class = [m for m, c in zip(maps, channels, strict=True) if c.startswith(PREFIX)]
    if not of_class:
        return np.zeros(count, np.int64)
    flat = labels.ravel()
    sums = [np.bincount(flat, m.ravel(), minlength=count + 1)[1:] for m in of_class]
    return np.argmax(sums, axis=0)
