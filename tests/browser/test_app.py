"""The page as a person uses it: drop, look, move, hover, take home."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from playwright.sync_api import expect

from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.inference.model_file import ModelFile, ModelSettings, write_model_file
from nuclei.models.fcn import Fcn
from nuclei.submission import rle

SETTINGS = ModelSettings(
    network={"_target_": "nuclei.models.fcn.Fcn", "features": [1]},
    channels=["nucleus", "class_bright", "class_dim"],
    steps=[
        {
            "_target_": "nuclei.postprocess.watershed.DistanceWatershed",
            **{"low": 0.5, "high": 0.5, "sigma": 2.0, "peak_distance": 6},
        },
        {"_target_": "nuclei.postprocess.components.RemoveSmall", "min_area": 20},
    ],
    tta=1,
    diameter=None,
    scales=[1.0],
)


def bright_and_dim():
    """Weights of a network that takes white for nuclei, and the whiter ones for ``bright``."""
    network = Fcn([1], 3)
    for weights in network.parameters():
        torch.nn.init.zeros_(weights)
    (hidden, _), head = network.body[0][0], network.body[1]
    hidden.weight.data[..., 1, 1] = 1.0
    head.weight.data[:, 0, 0, 0] = torch.tensor([20.0, 10.0, -10.0])
    head.bias.data[:] = torch.tensor([-6.0, -5.0, 5.0])
    return network.state_dict()


class Server:
    """``./run.sh app`` in a process of its own."""

    def __init__(self, repo, temp, *settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.temp = f"http://127.0.0.1:{port}/", temp
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nuclei", "app", f"port={port}", *settings],
            env={**os.environ, "PYTHONPATH": str(repo / "src"), "TMPDIR": str(temp)},
            cwd=repo,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = iter(self.process.stdout.readline, "")  # before it, that loops are compiled
        assert any(line.startswith(f"the page is at {self.url}") for line in lines), self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        self.process.send_signal(signal.SIGINT)  # the impatient press twice; it must not leave files behind
        said = self.process.communicate(timeout=30)[0]
        assert self.process.returncode == 143 and not list(self.temp.glob("nuclei-app-*")), said
        return said

    def uploads(self):
        """Names of what visitors left on the disk."""
        return [p.name for p in self.temp.rglob("*") if p.is_file() and p.suffix in (".png", ".tif", ".jpg")]


@pytest.fixture(scope="module")
def server(browser, repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    write_model_file(
        folder / "model.safetensors", ModelFile(SETTINGS, {k: v.numpy() for k, v in bright_and_dim().items()})
    )
    limits = ("limits.megabytes=1", "limits.megapixels=4", "limits.pages=9")
    server = Server(repo, folder, f"weights={folder / 'model.safetensors'}", *limits)
    yield server
    assert "Traceback" not in server.stop()


@pytest.fixture
def visit(server, page):
    """The page, open; it may ask nobody but its own server for anything."""
    elsewhere = []
    local = (server.url, "data:", f"blob:{server.url}")
    page.on("request", lambda r: None if r.url.startswith(local) else elsewhere.append(r.url))
    page.goto(server.url)
    expect(page.locator("#viewer .empty")).to_be_visible(timeout=30000)
    yield page
    assert not elsewhere


def drawn(seed=0, shape=(520, 696), count=120):
    rng = np.random.default_rng(seed)
    return draw_fluorescence(rng, draw_nuclei(rng, shape, count, 13, touching=0.3))[..., 0]


def upload(page, *files):
    page.set_input_files("#drop input[type=file]", list(files))


def png(name, image):
    return {"name": name, "mimeType": "image/png", "buffer": cv2.imencode(".png", image)[1].tobytes()}


def shown(page, name):
    """Wait until an image is shown; the number of its nuclei."""
    tip = page.locator("#viewer .tip")
    expect(tip).to_have_text(re.compile(rf"^{re.escape(name)}: \d+ nuclei"), timeout=60000)
    return int(tip.inner_text().split(": ")[1].split()[0])


def saved(page, button):
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(f"^{button}")).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def legend(page):
    rows = page.locator("#viewer .legend tbody tr").all()
    return {row.get_attribute("data-class"): int(row.locator(".count").inner_text()) for row in rows}


def test_drop_look_hover_move_and_take_home(visit, server, shots):
    upload(visit, png("my cells.png", drawn()))
    count = shown(visit, "my_cells")
    assert count > 60 and not server.uploads()
    assert visit.locator("#viewer [data-pane]:visible").count() == 3

    name, data = saved(visit, "Label map")
    labels = tifffile.imread(io.BytesIO(data))
    assert name == "my_cells_labels.tif" and labels.dtype == np.uint16 and labels.max() == count
    table = pd.read_csv(io.BytesIO(saved(visit, "Table")[1]))
    assert legend(visit) == table["class"].value_counts().to_dict()
    assert set(legend(visit)) == {"bright", "dim"}
    outlines = json.loads(saved(visit, "Outlines for QuPath")[1])["features"]
    assert [f["properties"]["classification"]["name"] for f in outlines] == table["class"].tolist()
    rows = pd.read_csv(io.BytesIO(saved(visit, "Run lengths")[1]))
    assert np.array_equal(rle.decode(rows.EncodedPixels.tolist(), labels.shape), labels)

    largest = table.loc[table.area.idxmax()]
    y, x = next(zip(*np.nonzero(labels == largest.label), strict=True))
    canvas = visit.locator('[data-pane="nuclei"] canvas')
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.hover(position={"x": (x + 0.5) * box["width"] / 696, "y": (y + 0.5) * box["height"] / 520})
    expect(visit.locator("#viewer .tip")).to_have_text(
        f"nucleus {largest.label} · {largest.area:.0f} px² · {largest['class']}"
    )
    visit.screenshot(path=shots / "app.png", full_page=True)

    area = visit.locator("#slider-min_area input[type=number]")
    area.fill("400")
    area.press("Enter")
    expect(visit.locator("#viewer .tip")).to_have_text(re.compile(rf"^my_cells: (?!{count} )\d+ nuclei"))
    table = table[table.area >= 400]
    assert shown(visit, "my_cells") == len(table) == sum(legend(visit).values()) < count
    assert len(pd.read_csv(io.BytesIO(saved(visit, "Table")[1]))) == len(table)
    visit.get_by_role("button", name="Back to the model's own values").click()
    expect(visit.locator("#viewer .tip")).to_contain_text(f": {count} nuclei")


def test_opacity_and_outlines_are_drawn_at_once(visit):
    visit.locator("#examples .thumbnail-item").nth(1).click()
    shown(visit, "histology")
    pixels = "() => document.querySelector('[data-pane=\"nuclei\"] canvas').toDataURL()"
    before = visit.evaluate(pixels)
    visit.locator("#viewer [name=opacity]").fill("0.8")
    visit.wait_for_function(f"before => ({pixels})() !== before", arg=before)
    before = visit.evaluate(pixels)
    visit.locator("#viewer [name=outlines]").uncheck()
    visit.wait_for_function(f"before => ({pixels})() !== before", arg=before)


def test_pages_of_16_bits_and_several_files(visit):
    stack = np.stack([drawn(1, (90, 120), 9), drawn(2, (90, 120), 9)]).astype(np.uint16) * 150
    file = io.BytesIO()
    tifffile.imwrite(file, stack, photometric="minisblack")
    upload(
        visit, {"name": "s.tif", "mimeType": "image/tiff", "buffer": file.getvalue()}, png("t.png", drawn(3))
    )
    shown(visit, "s_page1")
    chooser = visit.locator("#chooser input")
    for name in ("t", "s_page2"):
        chooser.click()
        visit.get_by_role("option", name=name, exact=True).click()
        shown(visit, name)


def pick(page, control, option):
    page.locator(f"#{control} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_channel_modality_and_the_warning_where_no_nuclei_are(visit, shots):
    planes = np.stack([np.full((90, 120), 40, np.uint16), drawn(1, (90, 120), 9).astype(np.uint16) * 150])
    file = io.BytesIO()
    metadata = {"axes": "CYX", "Channel": {"Name": ["phase", "green"]}}
    tifffile.imwrite(file, planes, ome=True, metadata=metadata, photometric="minisblack")
    upload(visit, {"name": "two.ome.tif", "mimeType": "image/tiff", "buffer": file.getvalue()})
    warnings = visit.locator("#viewer .warnings li")
    assert shown(visit, "two.ome") > 3, "the channel that looks like nuclei"
    expect(warnings.first).to_contain_text("no name tells which channel shows nuclei")
    expect(visit.locator("#viewer .notes")).to_contain_text("channel 2 of 2: green")

    pick(visit, "channel", "1: phase")
    expect(visit.locator("#viewer .notes")).to_contain_text("channel 1 of 2: phase", timeout=60000)
    assert shown(visit, "two.ome") == 0
    expect(warnings.first).to_contain_text(
        "no nuclei were found: try another Channel (phase, green), another"
    )
    visit.screenshot(path=shots / "app_no_nuclei.png", full_page=True)

    pick(visit, "channel", "2: green")
    expect(visit.locator("#viewer .notes")).to_contain_text("channel 2 of 2: green", timeout=60000)
    count = shown(visit, "two.ome")
    assert count > 3
    expect(warnings).to_have_count(0)
    table = pd.read_csv(io.BytesIO(saved(visit, "Table")[1]))
    assert len(table) == count and (table["mean_intensity_phase"] == 40).all()
    assert table["mean_intensity"].max() > 255, "intensities are those of the file"
    name, rois = saved(visit, "Outlines for ImageJ")
    assert name == "two.ome_rois.zip" and len(zipfile.ZipFile(io.BytesIO(rois)).namelist()) == count

    expect(visit.locator("#modality input")).to_have_value("as it looks: fluorescence")
    pick(visit, "modality", "brightfield")
    expect(visit.locator("#viewer .notes")).to_contain_text("brightfield, as chosen", timeout=60000)
    assert shown(visit, "two.ome") != count
    pick(visit, "polarity", "nuclei are brighter")
    expect(visit.locator("#viewer .tip")).to_have_text(
        re.compile(rf"^two.ome: {count} nuclei"), timeout=60000
    )


def test_zoom_and_pan_move_all_panes_and_the_pointer_finds_its_nucleus(visit, shots):
    upload(visit, png("z.png", drawn()))
    shown(visit, "z")
    labels = tifffile.imread(io.BytesIO(saved(visit, "Label map")[1]))
    stages, scale = visit.locator("#viewer .stage:visible"), visit.locator("#viewer .scale")
    stage = stages.nth(1)
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4

    def transforms():
        parts = visit.locator("#viewer .stage:visible :is(img, canvas)").all()
        return {part.evaluate("part => part.style.transform") for part in parts}

    def seen():
        """The label that is to be under the pointer at (x, y), by the picture's own geometry."""
        now = stage.locator("canvas").bounding_box()
        column = int((x - now["x"]) / now["width"] * 696)
        return labels[int((y - now["y"]) / now["height"] * 520), column], now

    before = seen()[0]
    visit.mouse.move(x, y)
    for _ in range(4):
        visit.mouse.wheel(0, -150)
    expect(scale).not_to_have_text("100 %")
    assert len(transforms()) == 1 and "scale" in transforms().pop()
    after, zoomed = seen()
    assert after == before, "what is under the pointer stays there"
    assert zoomed["width"] > 3 * box["width"]
    visit.screenshot(path=shots / "app_zoomed.png", full_page=True)

    visit.mouse.down()
    visit.mouse.move(x - 60, y - 40, steps=4)
    visit.mouse.up()
    moved = seen()[1]
    assert abs(zoomed["x"] - moved["x"] - 60) < 1.5 and abs(zoomed["y"] - moved["y"] - 40) < 1.5
    tip = visit.locator("#viewer .tip")
    for dx in range(0, 120, 4):
        x = box["x"] + 30 + dx
        visit.mouse.move(x, y)
        number = seen()[0]
        if number:
            expect(tip).to_contain_text(f"nucleus {number} ·")
    visit.get_by_role("button", name="larger").click()
    visit.get_by_role("button", name="Fit").click()
    expect(scale).to_have_text("100 %")
    assert transforms() == {""}
    stage.focus()
    visit.keyboard.press("+")
    expect(scale).to_have_text("150 %")
    visit.keyboard.press("ArrowRight")
    assert "translate(" in transforms().pop()
    visit.keyboard.press("0")
    expect(scale).to_have_text("100 %")


def test_several_images_stand_in_one_table(visit):
    upload(visit, png("p.png", drawn(1, (90, 120), 9)), png("q.png", np.full((40, 40), 9, np.uint8)))
    count = shown(visit, "p")
    name, data = saved(visit, "Nuclei of all")
    table = pd.read_csv(io.BytesIO(data))
    assert name == "nuclei.csv" and set(table.image) == {"p"} and len(table) == count
    images = pd.read_csv(io.BytesIO(saved(visit, "Counts of all")[1]))
    assert images.image.tolist() == ["p", "q"] and images.nuclei.tolist() == [count, 0]


def test_bad_files_are_named_and_the_page_lives_on(visit, server, shots):
    html = {"name": "<img src=x onerror=alert(1)>.png", "mimeType": "image/png", "buffer": b"<html>"}
    cut = {**png("cut.png", drawn()), "buffer": png("cut.png", drawn())["buffer"][:5000]}
    upload(visit, html, cut, png("large.png", np.zeros((3000, 3000), np.uint8)))
    alerts = visit.locator(".refused [role=alert]")
    expect(alerts).to_have_count(3, timeout=30000)
    visit.screenshot(path=shots / "app_refused.png")
    assert not server.uploads()
    upload(visit, png("good.png", drawn(1)))
    shown(visit, "good")
    expect(alerts).to_have_count(0)


def test_a_file_of_too_many_bytes_is_refused_and_the_page_lives_on(browser, server):
    page = browser.new_page()  # not the fixture: gradio writes what it refuses into the console as an error
    page.goto(server.url)
    expect(page.locator("#viewer .empty")).to_be_visible(timeout=30000)
    upload(page, png("noise.png", np.random.default_rng(0).integers(0, 256, (1100, 1100), dtype=np.uint8)))
    expect(page.get_by_text("maximum allowed size")).to_be_visible(timeout=30000)
    assert not server.uploads()
    upload(page, png("good.png", drawn(1)))
    shown(page, "good")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_needs_no_scrolling_sideways(visit, shots, scheme):
    visit.emulate_media(color_scheme=scheme)
    visit.set_viewport_size({"width": 390, "height": 844})
    visit.locator("#examples .thumbnail-item").first.click()
    shown(visit, "fluorescence")
    assert visit.evaluate("document.documentElement.scrollWidth") <= 390
    visit.screenshot(path=shots / f"app_narrow_{scheme}.png", full_page=True)


def test_browsers_are_told_to_fetch_nothing_from_elsewhere(server):
    with urllib.request.urlopen(server.url) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_what_is_refused_or_comes_from_elsewhere_leaves_nothing(server):
    def post(size, headers, sent=None):
        """The status of an upload; None where only ``sent`` bytes are sent, and no answer awaited."""
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'
        body = head + bytes(size) + b"\r\n--b--\r\n"
        port = int(server.url.split(":")[2].strip("/"))
        fields = {"Host": f"127.0.0.1:{port}", "Content-Type": "multipart/form-data; boundary=b"} | headers
        lines = [
            f"{k}: {v}" for k, v in (fields | {"Content-Length": len(body), "Connection": "close"}).items()
        ]
        request = "\r\n".join(["POST /gradio_api/upload HTTP/1.1", *lines, "", ""]).encode()
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            visitor.sendall(request + body[:sent])
            return None if sent else int(visitor.makefile("rb").readline().split()[1])

    def left():
        (folder,) = server.temp.glob("nuclei-app-*")
        return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 100_000]

    before = left()
    assert post(10, {"Host": "evil.example"}) == post(10, {"Origin": "http://evil.example"}) == 403
    assert post(2 * 2**20, {}) == 413
    post(900_000, {}, sent=500_000)
    for _ in range(100):
        time.sleep(0.05)
        if left() == before:
            break
    assert left() == before
    assert post(200_000, {}) == 200 and len(left()) == len(before) + 1


def test_the_model_in_the_box_finds_the_drawn_nuclei(browser, repo, page, tmp_path, shots):
    server = Server(repo, tmp_path)
    try:
        page.goto(server.url)
        page.locator("#examples .thumbnail-item").first.click()
        assert 30 <= shown(page, "fluorescence") <= 70
        assert page.locator("#viewer [data-pane]:visible").count() == 2
        page.screenshot(path=shots / "app_box.png")
    finally:
        server.stop()
