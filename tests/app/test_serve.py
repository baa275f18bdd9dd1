"""The server's guard: long requests end, nothing is fetched from elsewhere, nothing stays behind."""

import os
import tempfile
import time

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from nuclei.app.serve import Guard, private_folder, sweep


async def length(request):
    return PlainTextResponse(str(len(await request.body())))


APP = Guard(Starlette(routes=[Route("/", length, methods=["POST"])]), limit=1000)


def test_a_request_is_read_up_to_the_limit_alone():
    client = TestClient(APP)
    answer = client.post("/", content=bytes(1000))
    assert answer.text == "1000" and "default-src 'self'" in answer.headers["content-security-policy"]
    with pytest.raises(ClientDisconnect):
        client.post("/", content=bytes(1001))


def test_parts_of_broken_uploads_go_after_a_while(tmp_path):
    old, new, other = (tmp_path / name for name in ("tmp1", "tmp2", "kept"))
    for file in (old, new, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (time.time() - 1000,) * 2)
    sweep(tmp_path)
    assert not old.exists() and new.exists() and other.exists()


def test_the_private_folder_is_private_and_goes(monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "before")
    before = tempfile.gettempdir()
    with private_folder():
        inside = tempfile.gettempdir()
        assert os.environ["GRADIO_TEMP_DIR"] == inside != before
        assert os.stat(inside).st_mode & 0o077 == 0
        tempfile.mkstemp()
    assert not os.path.exists(inside) and tempfile.gettempdir() == before
