"""Serve the page, by default to this machine alone, and without requests to anywhere else."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nuclei.errors import UserError

if TYPE_CHECKING:
    from nuclei.app.page import Page

# The browser itself refuses whatever the page would fetch from elsewhere.
POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"
UPLOADS = 4  # how many files of the largest size one request may hold


@contextmanager
def private_folder() -> Iterator[None]:
    """Keep all temporary files, gradio's among them, in a private folder that is deleted in the end.

    Enter this context before importing gradio, which reads its settings then.
    """
    with tempfile.TemporaryDirectory(prefix="nuclei-app-", ignore_cleanup_errors=True) as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
        # Gradio asks its own page whether the page is up, which a proxy could not know.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def serve(page: Page, host: str, port: int | None) -> None:
    """Serve a page until Ctrl-C or a termination signal.

    Raises:
        UserError: the port is taken, or the host is no address of this machine.
    """
    from nuclei.app.page import STYLE, THEME

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    blocks = page.build()
    limit = UPLOADS * page.limits.size
    try:
        _, url, _ = blocks.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            max_file_size=page.limits.size,
            footer_links=[],
            theme=THEME,
            css=STYLE,
            app_kwargs={"middleware": [Middleware(Guard, limit=limit)], "docs_url": None, "redoc_url": None},
        )
    except (OSError, ValueError) as e:
        raise UserError(f"cannot serve at {host}, port {port or '7860 to 7959'}: {e}") from e
    print(f"the page is at {url} (Ctrl-C stops it)", flush=True)
    try:
        threading.Event().wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave files behind
        blocks.close(verbose=False)


def sweep(folder: Path, age_s: float = 600) -> None:
    """Remove files of broken uploads, which gradio forgets, from a folder."""
    for part in folder.glob("tmp*"):
        with suppress(OSError):  # another request may be quicker
            if part.is_file() and time.time() - part.stat().st_mtime > age_s:
                part.unlink()


class Guard:
    """Refuse requests whose body is too long, and tell browsers to fetch nothing from elsewhere."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, count its bytes, and add a header to the response."""
        received = 0
        if scope.get("path", "").endswith("/upload"):
            sweep(Path(tempfile.gettempdir()))

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        await self.app(scope, counted, guarded)
