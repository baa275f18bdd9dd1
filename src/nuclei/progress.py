"""Progress of a loop: a bar with the remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import length_hint
from typing import TypeVar

T = TypeVar("T")
Report = Callable[[int, int | None, str], None]
_report: ContextVar[Report | None] = ContextVar("report", default=None)


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
        items: what to iterate over.
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
