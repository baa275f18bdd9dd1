"""Many at once: uploads to the page, images in a folder, pixels in an image; each within a ceiling of memory.

The last two take minutes: ``./run.sh test faults``.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
import tifffile

from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei

RUN = str(Path(__file__).parents[2] / "run.sh")
ENVIRONMENT = os.environ | {"NUCLEI_PYTHON": sys.executable}
LONG = pytest.mark.skipif(os.environ.get("NUCLEI_STRIKES") != "all", reason="minutes; ./run.sh test faults")
PAGE_GB, FOLDER_GB, LARGE_GB = 1.5, 1.5, 3.0
"""Most memory of the page, of ``predict`` for small images, and of ``predict`` for a large one."""


def drawn(side: int, seed: int = 0) -> np.ndarray:
    """Return an image of fluorescence, ``uint8 (side, side)``."""
    rng = np.random.default_rng(seed)
    image = draw_fluorescence(rng, draw_nuclei(rng, (side, side), side * side // 2000, 8.0, touching=0.3))
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 0])


def predict(folder: Path, *words: str) -> tuple[str, float]:
    """Run ``predict`` on ``folder/input``; return what it printed and its peak memory in GB."""
    code = "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    paths = [f"input={folder / 'input'}", f"output={folder / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-c", code, RUN, "predict", *paths, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    text, peak = done.stdout.strip().rsplit("\n", 1)
    return text, int(peak) / 1e6


def test_twenty_uploads_at_once_are_all_taken(tmp_path):
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (2000, 2000), np.uint8))[
        1
    ].tobytes()
    command = [RUN, "app", "port=7877"]
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            url = re.search(r"http://\S+[^/\s]", page.stdout.readline())
            assert url is not None

            def upload(number: int) -> int:
                files = {"files": (f"{number}.png", data)}
                return requests.post(f"{url[0]}/gradio_api/upload", files=files, timeout=120).status_code

            with ThreadPoolExecutor(20) as pool:
                answers = Counter(pool.map(upload, range(20)))
            assert answers == {200: 20}
            peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{page.pid}/status").read_text())
            assert peak is not None and int(peak[1]) / 1e6 < PAGE_GB
        finally:
            page.terminate()
    assert page.returncode == 143 and not list(tmp_path.glob("nuclei-app-*"))


@LONG
def test_two_thousand_images_in_one_folder(tmp_path):
    (tmp_path / "input").mkdir()
    for number in range(2000):
        cv2.imwrite(str(tmp_path / "input" / f"{number:04}.png"), drawn(64, number % 50))
    text, peak = predict(tmp_path, "save=[labels]")
    print(text, f"{peak:.2f} GB")
    with open(tmp_path / "out/images.csv", newline="") as f:
        assert [row["image"] for row in csv.DictReader(f)] == [f"{n:04}" for n in range(2000)]
    assert len(list((tmp_path / "out/labels").iterdir())) == 2000 and peak < FOLDER_GB


@LONG
def test_an_image_of_36_megapixels(tmp_path):
    (tmp_path / "input").mkdir()
    tifffile.imwrite(
        tmp_path / "input/large.tif", np.tile(drawn(1000)[..., None], (6, 6, 3)), photometric="rgb"
    )
    text, peak = predict(tmp_path, "diameter=16", "save=[labels]")
    print(text, f"{peak:.2f} GB")
    assert tifffile.imread(tmp_path / "out/labels/large.tif").max() > 10_000 and peak < LARGE_GB
