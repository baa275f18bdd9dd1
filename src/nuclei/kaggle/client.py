"""A session with Kaggle: signing in, time limits, and transfers that go on where they broke off.

Requests go through Kaggle's own SDK, ``kagglesdk``, and transfers to its storage through ``requests``.
Neither limits how long it waits, so a server that falls silent would hang the program: an adapter mounted on
both sessions sets the limit. ``kagglehub`` has fixed limits, and knows neither submissions nor notebooks.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
from kagglesdk import KaggleClient, KaggleCredentials, get_access_token_from_env
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest
from requests import HTTPError, Response
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from nuclei.errors import UserError
from nuclei.kaggle.unpack import check_space
from nuclei.progress import track

LONGEST_WAIT = 120  # seconds that Kaggle may ask for before a request is repeated
PIECE = 2**20  # bytes that are written to the disk at a time
ARRIVED, INCOMPLETE = (200, 201), 308  # how the storage answers an upload
BROKEN_OFF = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
T = TypeVar("T")
SITE = "https://www.kaggle.com"
TOKEN = (
    f"make a token at {SITE}/settings/api and put it into ~/.kaggle/access_token or the variable "
    "KAGGLE_API_TOKEN (an older kaggle.json in ~/.kaggle, or KAGGLE_USERNAME with KAGGLE_KEY, will do too)"
)


@dataclass(frozen=True)
class Causes:
    """The possible causes of a refusal, each with a pattern of Kaggle's messages and the advice to the user.

    ``by_status`` has the causes of a status that comes without a message, the likeliest first.
    """

    patterns: Mapping[str, tuple[str, str]]
    by_status: Mapping[int, tuple[str, ...]]


COMPETITION = Causes(
    {
        "rules": (
            r"\brules?\b|\baccept\b",
            f"the rules are not accepted: accept them at {SITE}/c/{{0}}/rules",
        ),
        "account": (r"verif|phone|identity", f"phone or account not verified: see {SITE}/settings"),
        "limit": (
            r"limit|per day|daily|too many|maximum|exceed|quota",
            f"the daily limit is reached: try again after midnight UTC, see {SITE}/c/{{0}}/submissions",
        ),
        "name": (
            r"not found|no such|does not exist|cannot find|could not find|unknown competition",
            f"the competition's name is mistyped (kaggle.competition={{0}}): see {SITE}/competitions",
        ),
        "closed": (
            r"closed|deadline|ended|no longer|not accepting|is over|late sub",
            f"the competition is closed and takes no such late submissions: see {SITE}/c/{{0}}",
        ),
    },
    {
        400: ("limit", "rules", "account", "closed", "name"),
        403: ("rules", "account", "closed", "limit", "name"),
        404: ("name", "closed", "rules"),
    },
)
NOTEBOOKS = Causes(
    {
        "account": COMPETITION.patterns["account"],
        "limit": (r"limit|too many|maximum|exceed|quota", f"a quota is used up: see {SITE}/settings"),
        "owner": (
            r"permission|denied|forbidden|owner|not found|cannot access",
            "the account that is signed in has no {0}: owner=NAME must be its name, as in the address of "
            "its profile",
        ),
    },
    {400: ("account", "limit", "owner"), 403: ("owner", "account"), 404: ("owner",)},
)


class Unreachable(UserError):
    """A fault that may pass by itself: the network, a time limit, an error on Kaggle's side."""


class Refused(UserError):
    """Kaggle has understood a request, and will not do it."""


class Unfinished(UserError):
    """What was waited for is not done yet."""


@contextmanager
def explain_errors(subject: str, causes: Causes = COMPETITION) -> Iterator[None]:
    """Turn whatever the client raises about a competition, dataset or notebook into a UserError of one line.

    It is ``Unreachable`` without a network or an answer in time, and after an answer 429 or 5xx.
    """
    try:
        yield
    except (UserError, ImportError):
        raise
    except HTTPError as e:
        raise explain_refusal(e, subject, causes) from e
    except Exception as e:
        of_request = isinstance(e, requests.RequestException)  # which is an OSError too
        if of_request and not isinstance(e, requests.JSONDecodeError):
            reason = innermost_reason(e)
            raise Unreachable(f"cannot reach Kaggle: {reason}; check the network and try again") from e
        if isinstance(e, OSError) and not of_request:
            place, reason = e.filename or "the disk", e.strerror or str(e)
            raise UserError(f"cannot use {place}: {reason}; free some space or correct its rights") from e
        raise UserError(
            f"cannot make sense of Kaggle's answer ({type(e).__name__}: {e}); "
            "does a proxy or a log-in page stand between?"
        ) from e


def explain_refusal(error: HTTPError, subject: str, causes: Causes = COMPETITION) -> UserError:
    """Return an error with the likely causes of a refused request.

    Kaggle's own message decides where there is one; else all causes are listed, the likeliest first.
    """
    response = error.response
    if response is None:
        return Unreachable(f"Kaggle refused: {error}")
    status, message = response.status_code, _message(response)
    answer = f"Kaggle answered {status} {response.reason}" + (f" ('{message}')" if message else "")
    if status == 401:
        return Refused(f"{answer}: it does not know these credentials; {TOKEN}")
    if status == 429 or status >= 500:
        wait = response.headers.get("Retry-After", "").strip()
        when = f"{wait} s" if wait.isdecimal() else "some minutes"
        return Unreachable(f"{answer}: a fault or too many requests; try again in {when}")
    matching = [advice for pattern, advice in causes.patterns.values() if re.search(pattern, message, re.I)]
    likely = causes.by_status.get(status, causes.by_status[400])
    advices = matching or [causes.patterns[cause][1] for cause in likely]
    prefix = "" if matching else "known causes: "
    return Refused(f"{answer}; {prefix}{'; or '.join(advices).format(subject)}")


def innermost_reason(error: BaseException) -> str:
    """Return the innermost reason of a network fault; the outer errors repeat the address only."""
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    return " ".join(str(inner).split())[:300] or type(error).__name__


def _message(response: Response) -> str:
    """Return Kaggle's own message in a refusal, without line ends; empty where there is none."""
    try:
        body = response.json()
        text = str(body.get("message") or body.get("error") or "")
    except (ValueError, AttributeError):
        text = "" if "<" in response.text else response.text
    text = " ".join(text.split())[:300]
    return "" if text.lower() == str(response.reason).lower() else text


class RepeatUnsent(Retry):
    """Repeat failed connections, and what Kaggle put off by 429, after the wait that it names, if short.

    A request that may have arrived is not repeated: a submission must not be sent twice.
    """

    def increment(
        self, method: str | None = None, url: str | None = None, response: Any = None, *args: Any, **more: Any
    ) -> RepeatUnsent:
        """Count one more attempt, or end the attempts."""
        if response and (self.get_retry_after(response) or 0) > LONGEST_WAIT:
            raise MaxRetryError(more["_pool"], str(url))
        return super().increment(method, url, response, *args, **more)


class TimedAdapter(HTTPAdapter):
    """An adapter that limits every request in time, and repeats what has not arrived.

    ``timeout`` is in seconds, for a connection and between two pieces of an answer.
    """

    def __init__(self, timeout: float, retries: int) -> None:
        repeat = RepeatUnsent(None, retries, False, status=retries, other=0, status_forcelist=[429])
        super().__init__(
            max_retries=repeat.new(allowed_methods=None, backoff_factor=0.5, raise_on_status=False)
        )
        self.timeout = timeout

    def send(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request; the time limit stands in for the caller's, which is none."""
        return super().send(*args, **(options | {"timeout": self.timeout}))


class KaggleSession:
    """Requests about one competition, dataset or notebook, named as in the address of its page.

    A request without an answer fails after ``timeout`` seconds; a broken transfer goes on ``retries`` times.
    """

    causes: Causes = COMPETITION

    def __init__(self, subject: str, timeout: float, retries: int) -> None:
        self.subject = subject
        self.timeout, self.retries = timeout, retries
        self._adapter = TimedAdapter(timeout, retries)
        self._client: KaggleClient | None = None
        # The storage lies elsewhere: what goes there must not carry the credentials.
        self._storage = _mounted(requests.Session(), self._adapter)

    @contextmanager
    def open(self) -> Iterator[KaggleClient]:
        """Yield the client, signed in; errors become one line that says what to do."""
        with explain_errors(self.subject, self.causes):
            if self._client is None:
                self._client = sign_in(self._adapter)
            yield self._client

    def _attempts(self) -> Iterator[int]:
        """Count attempts from 0; wait before each but the first, twice as long each time, at most 30 s."""
        for attempt in range(self.retries + 1):
            time.sleep(min(2.0 ** (attempt - 1), 30.0) if attempt else 0.0)
            yield attempt

    def upload(self, path: Path, url: str, begun: bool = False) -> None:
        """Send a file to the storage; a transfer that breaks off goes on where the storage stopped.

        ``begun`` says that an earlier transfer may have left a part of the file there.

        Raises:
            Unreachable: the transfer broke off too often; any other UserError: the storage refused the file.
        """
        size, reason = path.stat().st_size, ""
        for attempt in self._attempts():
            try:
                start = self._bytes_received(url, size) if begun or attempt else 0
                if start == size:
                    return
                response = self._put(path, url, start, size)
            except BROKEN_OFF as e:
                reason = innermost_reason(e)
                continue
            if response.status_code in ARRIVED:
                return
            reason = f"{response.status_code} {response.reason}"
            if response.status_code < 500 and response.status_code != INCOMPLETE:
                raise UserError(
                    f"sending {path}: the upload to {self.subject} was refused ({reason}); try again"
                )
        raise Unreachable(f"sending {path}: the upload to {self.subject} broke off ({reason}); try again")

    def _bytes_received(self, url: str, size: int) -> int:
        """Ask the storage how many bytes of a file of ``size`` bytes have arrived."""
        headers = {"Content-Range": f"bytes */{size}"}
        response = self._storage.put(url, headers=headers, allow_redirects=False)
        if response.status_code in ARRIVED:
            return size
        last = response.headers.get("Range", "").rpartition("-")[2]
        return int(last) + 1 if last.isdecimal() else 0

    def _put(self, path: Path, url: str, start: int, size: int) -> requests.Response:
        """Send the bytes of a file from ``start`` on."""
        from tqdm import tqdm

        headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        with open(path, "rb") as file:
            file.seek(start)
            quiet = not sys.stderr.isatty()
            with tqdm.wrapattr(file, "read", desc="upload", total=size, initial=start, disable=quiet) as body:
                return self._storage.put(url, data=body, headers=headers)

    def download(self, response: requests.Response, path: Path) -> None:
        """Write the body of an answer into a file; a broken transfer goes on, in this call or a later one.

        The file appears when all of it has arrived. The part is named after the file's version and size, so
        that no part of another version is continued. A UserError says that there is not enough space, and a
        ``requests.RequestException`` that the transfer broke off too often.
        """
        size = int(response.headers.get("Content-Length") or 0)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        name = hashlib.sha256(f"{version} {size}".encode()).hexdigest()[:12]
        part = path.with_name(f"{path.name}.{name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f"{path.name}.*.part"):
            if other != part or not version:
                other.unlink()
        check_space(path.parent, size - _size(part))
        for attempt in self._attempts():
            try:
                if (start := _size(part)) and start == size:
                    break
                if start or attempt:
                    response = self._rest(response, start, version)
                with open(part, "ab" if response.status_code == 206 else "wb") as file:
                    label, total = f"download ({size / 1e6:.0f} MB)", math.ceil(size / PIECE) or None
                    for piece in track(response.iter_content(PIECE), label, total):
                        file.write(piece)
                break
            except BROKEN_OFF:
                if attempt == self.retries:
                    raise
        os.replace(part, path)

    def _rest(self, response: requests.Response, start: int, version: str) -> requests.Response:
        """Ask again for the bytes from ``start`` on; Kaggle sends all of them where the file has changed."""
        request = response.request.copy()
        response.close()
        request.headers["Range"] = f"bytes={start}-"
        if version:
            request.headers["If-Range"] = version
        print(f"the download goes on at byte {start}", file=sys.stderr, flush=True)
        response = self._storage.send(request, stream=True)
        response.raise_for_status()
        return response


def sign_in(adapter: HTTPAdapter) -> KaggleClient:
    """Return a client with the user's token, key, or credentials of ``kaggle auth``; raise without any."""
    token, source = get_access_token_from_env()
    if token:
        client = _client(adapter, api_token=token)
        if not _is_accepted(client, token):
            place = source.replace("access_token", "~/.kaggle/access_token")
            raise UserError(f"Kaggle does not accept the token in {place}; {TOKEN}")
        return client
    file = _key_file()
    username, key = _user_and_key(file)
    if username and key:
        return _client(adapter, username=username, password=key)
    if credentials := KaggleCredentials.load(_client(adapter)):
        return _client(adapter, api_token=credentials.get_access_token())
    fault = f"{file} holds no username and key" if file.exists() else "no Kaggle credentials were found"
    raise UserError(f"{fault}; {TOKEN}")


def _is_accepted(client: KaggleClient, token: str) -> bool:
    request = IntrospectTokenRequest()
    request.token = token
    try:
        return bool(client.security.oauth_client.introspect_token(request).active)
    except requests.HTTPError as e:
        if e.response is not None and e.response.status_code in (400, 403, 404):
            return False
        raise


def _key_file() -> Path:
    """Return the first ``kaggle.json`` that exists, else where one would be."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    folder = os.environ.get("KAGGLE_CONFIG_DIR")
    folders = [Path(folder)] if folder else [Path.home() / ".kaggle", Path(config) / "kaggle"]
    files = [folder / "kaggle.json" for folder in folders]
    return next((file for file in files if file.exists()), files[0])


def _user_and_key(file: Path) -> list[str]:
    """Return the user's name and key from the environment or ``kaggle.json``; empty where there are none."""
    try:
        values = dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        values = {}
    names = ("username", "key")
    return [str(os.environ.get(f"KAGGLE_{name.upper()}") or values.get(name, "")) for name in names]


def _client(adapter: HTTPAdapter, **credentials: str) -> KaggleClient:
    """Return a client whose requests go through ``adapter``."""
    client = KaggleClient(**credentials)
    _mounted(client.http_client().__enter__()._session, adapter)
    return client


def _mounted(session: requests.Session, adapter: HTTPAdapter) -> requests.Session:
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)
    return session


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_interval(seconds: float) -> None:
    """Refuse to look again at once, for ever."""
    if seconds <= 0:
        raise UserError(f"poll={seconds:g}: expected the seconds between two looks, above 0")


def poll_until(look: Callable[[], T | None], name: str, limit: float, interval: float) -> T:
    """Call ``look`` every ``interval`` seconds until it returns something; show progress under ``name``.

    After ``limit`` seconds raise the fault of the last call, if it was ``Unreachable``, else ``Unfinished``.
    """
    fault: Unreachable | None = None
    for _ in track(_ticks(limit, interval), name, total=math.ceil(limit / interval) + 1):
        try:
            if (result := look()) is not None:
                return result
            fault = None
        except Unreachable as e:
            fault = e
    raise fault or Unfinished(f"{name}: not done after {limit:.0f} s")


def _ticks(limit: float, interval: float) -> Iterator[None]:
    """Yield at once, then every ``interval`` seconds until ``limit`` seconds are over."""
    end = time.monotonic() + limit
    while True:
        yield
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(interval, left))
