"""Serve the page, by default to this machine alone, and without requests to anywhere else."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nuclei.errors import UserError

if TYPE_CHECKING:
    from nuclei.app.page import Page

# The browser itself refuses whatever the page would fetch from elsewhere.
POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"
UPLOADS = 4  # files of the largest size in one request, and such requests on the disk


@contextmanager
def private_folder() -> Iterator[None]:
    """Keep all temporary files, gradio's among them, in a private folder that is deleted in the end.

    The folders of killed pages, whose locks are free, are deleted too. Enter this context before importing
    gradio, which reads its settings then.
    """
    for lock in Path(tempfile.gettempdir()).glob("nuclei-app-*/.lock"):
        with suppress(OSError, Timeout), FileLock(lock, timeout=0):  # another user's, or a living page's
            shutil.rmtree(lock.parent)
    with tempfile.TemporaryDirectory(prefix="nuclei-app-", ignore_cleanup_errors=True) as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
        # Gradio asks its own page whether the page is up, which a proxy could not know.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            with FileLock(Path(folder, ".lock")):
                yield
        finally:
            tempfile.tempdir = before


def serve(page: Page, host: str, port: int | None) -> None:
    """Serve a page until Ctrl-C or a termination signal.

    Raises:
        UserError: the port is taken or no port, or the host is no address of this machine.
    """
    if port is not None and not 0 < port < 2**16:
        raise UserError(f"port={port}: expected 1 to 65535, or null for the first free one from 7860 on")
    from nuclei.app.page import STYLE, THEME

    blocks = page.build()
    guard = Middleware(Guard, limit=UPLOADS * page.limits.size, host=host)
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
            app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None},
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


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder, but for those that another request deletes meanwhile."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            size += file.stat().st_size if file.is_file() else 0
    return size


class Guard:
    """Refuse requests that are too long, by other names or from other sites; clean up after uploads.

    A browser on this machine can be made to ask here by any site that is open in it: from the site's page,
    which the header Origin tells, or by a name that the site's owner lets point here, which the header Host
    tells. An address is no name, and cannot be bent so.
    """

    def __init__(self, app: ASGIApp, limit: int, host: str) -> None:
        self.app, self.limit = app, limit
        self.announced: list[int] = []  # bytes of each upload that is on its way
        self.names = {"localhost", socket.gethostname().lower(), host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, count its bytes, and add a header to the response."""
        if scope["type"] != "http":  # "lifespan" starts Gradio's clearing up
            await self.app(scope, receive, send)
            return
        received, folder = 0, Path(tempfile.gettempdir())
        limit = self.announced_size(scope)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        uploading = scope["path"].endswith("/upload")
        used = folder_size(folder) + sum(self.announced) if uploading else 0
        if refusal := self.refusal(scope, used):
            await refusal(scope, receive, send)
            return
        if uploading:
            self.announced.append(limit)
        try:
            await self.app(scope, counted, guarded)
        except ClientDisconnect:
            if received > limit:
                await PlainTextResponse("the request is too long", 413)(scope, receive, send)
        finally:
            if uploading:
                self.announced.remove(limit)
            if uploading and not self.announced:  # what gradio has not renamed now was refused or cut
                for part in folder.glob("tmp*"):
                    if part.is_file():
                        part.unlink(missing_ok=True)

    def announced_size(self, scope: Scope) -> int:
        """Return how many bytes a request may have: as many as it says, and no more than the limit."""
        length = Headers(scope=scope).get("content-length", "")
        return min(int(length), self.limit) if length.isdecimal() else self.limit

    def refusal(self, scope: Scope, used: int) -> Response | None:
        """Return the answer to a request that is refused; ``used`` are the bytes of all uploads."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.is_own(host):
            return PlainTextResponse(f"the Host {host[:80]} is no address or name of this machine", 403)
        foreign = origin not in (None, f"{scope['scheme']}://{host}")
        if scope["method"] != "GET" and (foreign or headers.get("sec-fetch-site") == "cross-site"):
            return PlainTextResponse("a page of another origin may not send anything here", 403)
        if used > (UPLOADS - 1) * self.limit:
            return PlainTextResponse(
                "the uploads' share of the disk is used up; try again in ten minutes", 507
            )
        return None

    def is_own(self, host: str) -> bool:
        """Return whether a Host is an address, or a name of this machine."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.names or bool(ip_address(name))
        except ValueError:
            return False
