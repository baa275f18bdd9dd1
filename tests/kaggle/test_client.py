"""Sessions with a local Kaggle: credentials, refusals, time limits, transfers that break off and go on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import requests
from kaggle_server import KEY, TOKEN, USER, KaggleServer
from requests import HTTPError, Response

from nuclei.errors import UserError
from nuclei.kaggle.client import (
    COMPETITION,
    PIECE,
    KaggleSession,
    TimedAdapter,
    Unfinished,
    Unreachable,
    check_interval,
    explain_refusal,
    poll_until,
    sign_in,
)


def answer(status: int, reason: str, message: str = "") -> HTTPError:
    response = Response()
    response.status_code, response.reason = status, reason
    response._content = json.dumps({"code": status, "message": message}).encode() if message else b""
    return HTTPError(response=response)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("You must accept this competition's rules", "rules"),
        ("Please verify your phone number", "account"),
        ("Your team has used its daily Submission allowance (5)", "limit"),
        ("Submission limit exceeded", "limit"),
        ("Competition not found", "name"),
        ("The deadline of this competition has passed", "closed"),
        ("This competition is not accepting submissions", "closed"),
    ],
)
def test_kaggles_own_words_decide(message: str, cause: str) -> None:
    shown = str(explain_refusal(answer(400, "Bad Request", message), "bowl"))
    assert message in shown
    named = [name for name, (_, text) in COMPETITION.patterns.items() if text.format("bowl") in shown]
    assert named == [cause]


@pytest.mark.parametrize(("status", "first"), [(400, "daily limit"), (403, "rules"), (404, "mistyped")])
def test_without_words_the_likeliest_cause_comes_first(status: int, first: str) -> None:
    shown = str(explain_refusal(answer(status, "Refused"), "bowl"))
    assert first in shown.split(";")[1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_that_pass_are_told_apart(status: int) -> None:
    assert isinstance(explain_refusal(answer(status, "Fault"), "bowl"), Unreachable)


def test_a_401_says_where_the_token_goes() -> None:
    assert "https://www.kaggle.com/settings/api" in str(explain_refusal(answer(401, "Unauthorized"), "bowl"))


URL = "http://localhost/storage/x.zip"


def session(retries: int = 0, timeout: float = 5.0) -> KaggleSession:
    return KaggleSession("bowl", timeout, retries)


def test_a_request_that_may_have_arrived_is_not_repeated(server: KaggleServer) -> None:
    server.state.delay["GetSubmissionLimits"] = 1
    plain = requests.Session()
    plain.mount("http://", TimedAdapter(0.2, 3))
    with pytest.raises(requests.Timeout):
        plain.post("http://localhost/api/v1/x/GetSubmissionLimits", json={})
    assert server.state.calls == ["GetSubmissionLimits"]


def test_a_failed_connection_is_tried_again(server: KaggleServer) -> None:
    server.stop()
    plain = requests.Session()
    plain.mount("http://", TimedAdapter(5.0, 2))
    start = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        plain.get(URL)
    assert time.monotonic() - start >= 1.0  # the pauses before the second repeat


def test_a_token_goes_before_a_key(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = TimedAdapter(5.0, 0)
    assert sign_in(adapter).username == USER
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert sign_in(adapter).api_token == TOKEN
    monkeypatch.setenv("KAGGLE_API_TOKEN", "wrong")
    with pytest.raises(UserError, match="Kaggle does not accept the token in KAGGLE_API_TOKEN; make a token"):
        sign_in(adapter)


@pytest.mark.parametrize("folder", [".kaggle", ".config/kaggle", "elsewhere"])
def test_a_key_file_is_found(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    if folder == "elsewhere":
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home/elsewhere"))
    with pytest.raises(UserError, match="no Kaggle credentials were found"):
        sign_in(TimedAdapter(5.0, 0))
    path = tmp_path / "home" / folder / "kaggle.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"kaggle\.json holds no username and key"):
        sign_in(TimedAdapter(5.0, 0))
    path.write_text(json.dumps({"username": USER, "key": KEY}))
    assert sign_in(TimedAdapter(5.0, 0)).password == KEY


def test_an_upload_that_has_arrived_is_not_sent_again(server: KaggleServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"content")
    session().upload(path, "http://localhost/up/x.csv")
    assert server.state.uploads == {"/up/x.csv": b"content"}
    path.write_bytes(b"CONTENT")
    session().upload(path, "http://localhost/up/x.csv", begun=True)
    assert server.state.uploads == {"/up/x.csv": b"content"}


@pytest.mark.parametrize(("status", "passing"), [(500, True), (308, True), (400, False)])
def test_a_refused_upload(server: KaggleServer, tmp_path: Path, status: int, passing: bool) -> None:
    server.state.refuse["PUT"] = (status, "")
    (tmp_path / "x.csv").write_bytes(b"content")
    with pytest.raises(UserError, match=rf"x\.csv: the upload to bowl .*\({status} ") as e:
        session().upload(tmp_path / "x.csv", "http://localhost/up/x.csv")
    assert isinstance(e.value, Unreachable) == passing


def fetch(path: Path, retries: int = 0) -> None:
    session(retries).download(requests.get(URL, stream=True), path)


def test_a_download_goes_on_in_the_next_call_and_in_the_same(server: KaggleServer, tmp_path: Path) -> None:
    content = bytes(range(256)) * (3 * PIECE // 256)
    server.state.archive, server.state.cut = content, [PIECE + 10]
    with pytest.raises(requests.RequestException):
        fetch(tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists() and len(list(tmp_path.glob("x.zip.*.part"))) == 1
    server.state.cut = [len(content), PIECE + 10]  # the first answer is not read: a part is there
    fetch(tmp_path / "x.zip", retries=1)
    assert server.state.ranges == [f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]
    assert (tmp_path / "x.zip").read_bytes() == content and not list(tmp_path.glob("*.part"))


def test_a_part_of_another_version_is_not_continued(server: KaggleServer, tmp_path: Path) -> None:
    server.state.archive, server.state.cut = bytes(3 * PIECE), [PIECE + 10]
    with pytest.raises(requests.RequestException):
        fetch(tmp_path / "x.zip")
    server.state.archive = b"another version"
    fetch(tmp_path / "x.zip")
    assert server.state.ranges == [] and (tmp_path / "x.zip").read_bytes() == b"another version"
    assert not list(tmp_path.glob("*.part"))


def test_polling_ends_with_a_result_the_limit_or_the_last_fault() -> None:
    answers = iter([None, Unreachable("down"), None, 3])

    def look() -> int | None:
        answer = next(answers)
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    assert poll_until(look, "x", limit=5, interval=0.01) == 3
    with pytest.raises(Unfinished, match="x: not done after 0 s"):
        poll_until(lambda: None, "x", limit=0.02, interval=0.01)
    answers = iter([Unreachable("down")] * 100)
    with pytest.raises(Unreachable, match="down"):
        poll_until(look, "x", limit=0.02, interval=0.01)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_an_interval_of_nothing_is_refused_before_anything_is_sent(seconds: float) -> None:
    with pytest.raises(UserError, match=r"poll=.*: expected the seconds between two looks, above 0"):
        check_interval(seconds)
