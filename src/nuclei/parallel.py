"""Work spread over processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def parallel_map(
    function: Callable[[A], B], items: Sequence[A], workers: int, chunksize: int = 4
) -> Iterator[B]:
    """Yield ``function(item)`` for each item, in order, computed by ``workers`` processes.

    With one worker everything happens in this process. Others are spawned, since a fork of a process whose
    OpenCV has started threads waits for ever for threads that it does not have.
    """
    if workers == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker) as pool:
        yield from pool.map(function, items, chunksize=chunksize)


def _start_worker() -> None:
    """Keep OpenCV to one thread, as the processes occupy the cores, and end with the parent process."""
    import cv2

    cv2.setNumThreads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent process to end, killed or not; then end this process."""
    if parent := parent_process():
        parent.join()
        os._exit(1)
