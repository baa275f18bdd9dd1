"""A small Kaggle: the calls that the real client makes, over real HTTP, with faults on demand."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

from kaggle_notebook_server import NotebookServer, NotebookState

USER, KEY, TOKEN = "ada", "right-key", "KGAT_right"
GOOD = ("Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode(), f"Bearer {TOKEN}")
OPEN = ("IntrospectToken",)  # needs no credentials: it judges them
REASON = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


@dataclass
class State:
    """What the server holds, what it was asked, and how it shall misbehave."""

    archive: bytes = b""
    calls: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    submissions: list[dict[str, Any]] = field(default_factory=list)
    pending_looks: int = 0
    """How often ListSubmissions says PENDING before there is a score."""
    verdict: dict[str, Any] = field(
        default_factory=lambda: {"status": "COMPLETE", "publicScore": "0.42", "privateScore": "0.43"}
    )
    left: int = 4
    today: int = 1
    ref: Callable[[int], dict[str, Any]] = field(default=lambda number: {"ref": number})
    """What CreateSubmission says of the number that it gave."""
    lose: list[str] = field(default_factory=list)
    """Methods that do their work, but whose answer is lost; each entry is used once."""
    retry_after: dict[str, int] = field(default_factory=dict)
    """Method: seconds to wait, with which it is refused once by status 429."""
    meanwhile: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Method: what happens after its work and before its answer."""
    page_size: int = 20
    late_looks: int = 0
    """How often ListSubmissions does not show the newest submission yet."""
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Method: status and message; the method is refused each time."""
    delay: dict[str, float] = field(default_factory=dict)
    """Method: seconds before it answers."""
    cut: list[int] = field(default_factory=list)
    """Bytes after which a transfer of the archive breaks off; one entry is used for each transfer."""
    length: int | None = None
    """What the archive's Content-Length claims, instead of the truth."""
    ranges: list[str] = field(default_factory=list)
    redirect: bool = True
    """Whether the archive lies elsewhere, as on Kaggle, or comes as the answer itself."""
    notebooks: NotebookState = field(default_factory=NotebookState)
    """Datasets and notebooks."""


class KaggleServer:
    """Serves on a free port of 127.0.0.1; the client comes there through ``http_proxy``.

    ``KAGGLE_API_ENVIRONMENT=LOCALHOST`` makes the client call ``http://localhost``, port 80, which an
    ordinary user cannot open. As its proxy the server gets every request all the same.
    """

    def __init__(self) -> None:
        self.state = State()
        handler = type("Handler", (_Handler,), {"state": self.state})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # a client that went away is none of its business
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> KaggleServer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port; later connections are refused."""
        self.http.shutdown()
        self.http.server_close()

    def environment(self, home: str, **credentials: str) -> dict[str, str]:
        """Return the environment for a client; without ``credentials``, the right user and key."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith("KAGGLE_") and "proxy" not in k.lower()
        }
        mine = credentials or {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}
        proxy = f"http://127.0.0.1:{self.http.server_address[1]}"
        return {
            **kept, **mine, "HOME": home, "http_proxy": proxy, "KAGGLE_API_ENVIRONMENT": "LOCALHOST"
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler, NotebookServer):
    state: State
    method, wait = "", ""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        method = urlparse(self.path).path.rsplit("/", 1)[-1]
        body = json.loads(self._body() or b"{}")
        self.state.calls.append(method)
        self.state.bodies.append(body)
        if self._faulty(method):
            return
        if method not in OPEN and self.headers.get("Authorization") not in GOOD:
            self._refuse(401, "Unauthenticated")
            return
        self.method = method
        answer: Callable[[dict[str, Any]], None] = getattr(self, method)
        answer(body)

    def do_PUT(self) -> None:
        self.method = "PUT"
        self.state.calls.append("PUT")
        data, path = self._body(), urlparse(self.path).path
        if self._faulty("PUT"):
            return
        if self.headers.get("Content-Range", "").startswith("bytes */"):  # how much has arrived?
            self._send(200 if path in self.state.uploads else 308, b"", "text/plain")
            return
        self.state.uploads[path] = data
        self._send(200, b"", "text/plain")

    def do_GET(self) -> None:
        """The storage: one archive, with ranges."""
        self.state.calls.append("GET")
        if self._faulty("GET"):
            return
        data, start = self.state.notebooks.outputs.get(urlparse(self.path).path, self.state.archive), 0
        if asked := self.headers.get("Range"):
            self.state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        cut = self.state.cut.pop(0) if self.state.cut else len(data)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(self.state.length or len(data) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Tue, 16 Jan 2018 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(data[start : start + cut])
        self.close_connection = start + cut < (self.state.length or len(data))

    def IntrospectToken(self, body: dict[str, Any]) -> None:
        self._json({"active": True, "username": USER} if body["token"] == TOKEN else {"active": False})

    def StartSubmissionUpload(self, body: dict[str, Any]) -> None:
        self._json(
            {"token": f"blob-{body['fileName']}", "createUrl": f"http://localhost/up/{body['fileName']}"}
        )

    def CreateSubmission(self, body: dict[str, Any]) -> None:
        ref = 100 + len(self.state.submissions)
        self.state.submissions.insert(0, {"ref": ref, "description": body.get("submissionDescription", "")})
        self._json({"message": "Successfully submitted to 2018 Data Science Bowl", **self.state.ref(ref)})

    def ListSubmissions(self, body: dict[str, Any]) -> None:
        self.state.pending_looks -= 1
        verdict = {"status": "PENDING"} if self.state.pending_looks >= 0 else self.state.verdict
        start = (max(body.get("page", 1), 1) - 1) * self.state.page_size
        listed = self.state.submissions[start : start + self.state.page_size]
        if self.state.late_looks > 0:
            self.state.late_looks, listed = self.state.late_looks - 1, listed[1:]
        self._json({"submissions": [s | verdict for s in listed]})

    def GetSubmissionLimits(self, body: dict[str, Any]) -> None:
        self._json({"numToday": self.state.today, "numTotal": 9, "numAllowedNow": self.state.left})

    def DownloadDataFiles(self, body: dict[str, Any]) -> None:
        if not self.state.redirect:
            self.do_GET()
            return
        self.send_response(302)
        self.send_header("Location", f"http://localhost/storage/{body['competitionName']}/archive.zip?sig=1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _faulty(self, method: str) -> bool:
        """Wait, and refuse, where that was asked for; say whether the request is done with."""
        time.sleep(self.state.delay.get(method, 0))
        if seconds := self.state.retry_after.pop(method, None):
            self.wait = str(seconds)
            self._refuse(429, "Too Many Requests")
            return True
        if method in self.state.refuse:
            self._refuse(*self.state.refuse[method])
        return method in self.state.refuse

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"code": status, "message": message}).encode() if message else b""
        self._send(status, body, "application/json" if message else "text/html")

    def _json(self, body: dict[str, Any]) -> None:
        self._send(200, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.state.meanwhile.pop(self.method, lambda: None)()
        if self.method in self.state.lose:
            self.state.lose.remove(self.method)
            self.close_connection = True
            return
        try:
            self.send_response(status, REASON.get(status))
            self.send_header("Content-Type", kind)
            if self.wait:
                self.send_header("Retry-After", self.wait)
                self.wait = ""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # the client lost its patience

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))
