"""Work on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def spread(function: Callable[[A], B], items: Sequence[A], workers: int, chunksize: int = 4) -> Iterator[B]:
    """Yield ``function`` of each of ``items``, in order, computed by ``workers`` processes.

    One worker is this process. Others begin afresh: a fork of a process whose OpenCV has threads would wait
    for ever for threads that it does not have.
    """
    if workers == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as pool:
        yield from pool.map(function, items, chunksize=chunksize)


def _begin() -> None:
    import cv2

    cv2.setNumThreads(1)  # the processes keep the cores busy
