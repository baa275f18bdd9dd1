"""Progress: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Report = Callable[[int, int | None, str], None]
_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Within this, what ``track`` goes through is told to ``report(done, total, name)`` and not printed.

    >>> with reported(lambda done, total, name: print(name, done, total)):
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


def track(items: Iterable[T], name: str, total: int | None = None, every_s: float = 5.0) -> Iterator[T]:
    """Yield ``items`` while showing how far they are; silent when all takes under two seconds.

    Args:
        items: what to go through.
        name: shown before the figures.
        total: number of items, when ``items`` has no length.
        every_s: seconds between two lines when the output is no terminal.
    """
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
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
        if now - last >= every_s:
            last = now
            left = f", {(now - start) / n * (total - n):.0f} s left" if total else ""
            print(f"{name}: {n}/{total or '?'}, {now - start:.0f} s{left}", file=sys.stderr, flush=True)
