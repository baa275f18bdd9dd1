"""The server's guard: long requests end, nothing is fetched from elsewhere, nothing stays behind."""

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from nuclei.app.serve import Guard, private_folder, serve
from nuclei.errors import UserError

HERE = "http://localhost:7860"


async def length(request):
    return PlainTextResponse(str(len(await request.body())))


async def upload(request):
    """Write what arrives, as gradio does: the part of an upload that breaks off keeps its name."""
    with tempfile.NamedTemporaryFile(delete=False) as part:
        part.write(await request.body())
    if await request.body() == b"refused":
        return PlainTextResponse("", 413)
    Path(part.name).rename(Path(part.name).with_name(f"kept{len(os.listdir(tempfile.gettempdir()))}"))
    return PlainTextResponse("")


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A visitor of this machine's own page."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    routes = [Route("/", length, methods=["POST", "GET"]), Route("/upload", upload, methods=["POST"])]
    guard = Middleware(Guard, limit=1000, host="127.0.0.1")
    return TestClient(Starlette(routes=routes, middleware=[guard]), base_url=HERE)


def test_a_request_is_read_up_to_the_limit_alone(client):
    answer = client.post("/", content=bytes(1000))
    assert answer.text == "1000" and "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.post("/", content=bytes(1001)).status_code == 413


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:80", "[::1]:80", "192.168.1.5", socket.gethostname()]
)
def test_the_machine_is_asked_by_its_own_names(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "localhost.evil.example", "", "[x"])
def test_another_name_may_have_been_bent_to_this_machine(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 403 and "Host" in answer.text


def test_another_sites_page_sends_nothing_here(client):
    for origin in ("http://evil.example", "http://localhost:9999", "https://localhost:7860", "null"):
        assert client.post("/upload", headers={"origin": origin}, content=b"x").status_code == 403
    assert client.post("/upload", headers={"origin": HERE}, content=b"x").status_code == 200
    assert client.post("/upload", headers={"sec-fetch-site": "cross-site"}, content=b"x").status_code == 403


def test_refused_and_cut_uploads_go_at_once(client, tmp_path):
    for content in (b"refused", bytes(1001)):
        assert client.post("/upload", content=content).status_code == 413
    assert os.listdir(tmp_path) == []
    client.post("/upload", content=b"good")
    assert len(os.listdir(tmp_path)) == 1


def test_uploads_have_a_share_of_the_disk_and_no_more(client, tmp_path):
    codes = [client.post("/upload", content=bytes(1000)).status_code for _ in range(6)]
    assert codes == [200, 200, 200, 200, 507, 507]
    for file in tmp_path.iterdir():
        file.unlink()
    assert client.post("/upload", content=bytes(1000)).status_code == 200


def test_folders_of_killed_pages_go_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import time; from nuclei.app.serve import private_folder\n"
    code += "with private_folder(): print(1, flush=True); time.sleep(60)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as killed:
        killed.stdout.readline()
        (folder,) = tmp_path.iterdir()
        with private_folder():
            assert folder.exists()  # its page is alive
        killed.kill()
        killed.wait()
    assert folder.exists()
    with private_folder():
        assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


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


def test_the_application_starts_and_ends_its_clearing_up(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = []

    @asynccontextmanager
    async def lifespan(_):
        said.append("started")
        yield
        said.append("ended")

    guard = Middleware(Guard, limit=1000, host="127.0.0.1")
    with TestClient(Starlette(middleware=[guard], lifespan=lifespan)):
        assert said == ["started"]
    assert said == ["started", "ended"]


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused_before_the_page_is_built(port):
    with pytest.raises(UserError, match=f"port={port}: expected 1 to 65535"):
        serve(None, "127.0.0.1", port)
