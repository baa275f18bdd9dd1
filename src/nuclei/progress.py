"""Long loops: a bar or lines with the remaining time, and work spread over processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import get_context, parent_process
from operator import length_hint
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
Report = Callable[[int, int | None, str], None]
_report: ContextVar[Report | None] = ContextVar("report", default=None)
_places: ContextVar[tuple[str, ...]] = ContextVar("places", default=())


@contextmanager
def within(name: str) -> Iterator[None]:
    """Within this context, put a name, such as that of a file, before those that ``track`` prints."""
    token = _places.set((*_places.get(), name))
    try:
        yield
    finally:
        _places.reset(token)


@contextmanager
def report_progress(report: Report) -> Iterator[None]:
    """Within this context, call ``report(done, total, name)`` for each step of ``track`` and print nothing.

    >>> with report_progress(lambda done, total, name: print(name, done, total)):
    ...     print(sum(track([5, 7], "sum")))
    sum 1 2
    sum 2 2
    12
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def track(items: Iterable[T], name: str, total: int | None = None, interval_s: float = 5.0) -> Iterator[T]:
    """Yield ``items`` and show how many are done; show nothing when all take less than two seconds.

    Args:
        name: shown before the figures.
        total: number of items, when ``items`` has no length.
        interval_s: seconds between two lines when the output is no terminal.
    """
    total = total or length_hint(items) or None
    if report := _report.get():
        for n, item in enumerate(items, 1):
            yield item
            report(n, total, name)
        return
    name = ", ".join((*_places.get(), name))
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=name, total=total, delay=2, leave=False)
        return
    start = last = time.monotonic()
    for n, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= interval_s:
            last = now
            left = f", {(now - start) / n * (total - n):.0f} s left" if total else ""
            print(f"{name}: {n}/{total or '?'}, {now - start:.0f} s{left}", file=sys.stderr, flush=True)


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


def end_with(parent: int) -> None:
    """Let this process be asked to end, by SIGTERM, when its parent process has ended, killed or not."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent process to end, killed or not; then end this process."""
    if parent := parent_process():
        parent.join()
        os._exit(1)
