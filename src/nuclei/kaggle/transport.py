"""Time limits, few retries and progress for a client that has none of them."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nuclei.progress import track


@contextmanager
def limits(seconds: float, retries: int) -> Iterator[list[str]]:
    """Give every request that is sent inside a time limit, and show how far a download is.

    The kaggle client sets no limit for most of its requests, so a server that falls silent would hang
    it; and it repeats a broken upload ten times, for minutes. All its requests pass through here.

    Args:
        seconds: to wait for a connection, and between two pieces of an answer.
        retries: the most repeats of one request.

    Yields:
        The answers so far, such as ``PUT 200 OK``.
    """
    from requests.adapters import HTTPAdapter

    plain: Any = HTTPAdapter.send
    answers: list[str] = []

    def send(adapter: Any, request: Any, stream: bool = False, timeout: Any = None, **rest: Any) -> Any:
        before = adapter.max_retries
        adapter.max_retries = before.new(total=min(before.total or 0, retries))
        if "Range" in request.headers:
            print(f"the download goes on at {request.headers['Range']}", file=sys.stderr, flush=True)
        response = plain(adapter, request, stream=stream, timeout=seconds, **rest)
        answers.append(f"{request.method} {response.status_code} {response.reason}")
        if stream and response.status_code in (200, 206):
            _show(response)
        return response

    HTTPAdapter.send = send  # type: ignore[method-assign, assignment]
    try:
        yield answers
    finally:
        HTTPAdapter.send = plain  # type: ignore[method-assign]


def _show(response: Any) -> None:
    """Show the progress of a body that is read in pieces."""
    plain, length = response.iter_content, int(response.headers.get("Content-Length") or 0)

    def pieces(size: int = 1) -> Iterator[bytes]:
        return track(plain(size), f"download ({length / 1e6:.0f} MB)", math.ceil(length / size) or None)

    response.iter_content = pieces


def ticks(limit: float, poll: float) -> Iterator[None]:
    """Yield at once, then every ``poll`` seconds until ``limit`` seconds are over."""
    end = time.monotonic() + limit
    while True:
        yield
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(poll, left))
