"""The wheel: installed elsewhere it has its settings and its model, and works from any folder."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCENE = (
    "import numpy as np; image = np.zeros((96, 96), np.uint8);"
    "image[20:44, 20:44] = image[60:80, 50:75] = 200; "
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel alone; its dependencies are those of the tests."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", place, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "env"], check=True)
    python = place / "env" / "bin" / "python"
    packages = next((place / "env").glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*install, next(place.glob("nuclei-*.whl"))], check=True)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return python


def run(python: Path, cwd: Path, *words: str) -> str:
    """Run the environment's Python in a folder, without the checkout's sources; return what it prints."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([python, *words], cwd=cwd, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_segment_from_python(python: Path, tmp_path: Path) -> None:
    assert run(python, tmp_path, "-c", SCENE + "import nuclei; print(nuclei.segment(image).max())") == "2\n"


def test_importing_loads_nothing_heavy(python: Path, tmp_path: Path) -> None:
    loaded = run(python, tmp_path, "-c", "import nuclei, sys; print(*sys.modules)").split()
    assert not {"torch", "numpy", "cv2", "hydra"} & set(loaded)


def test_the_console_script_predicts(python: Path, tmp_path: Path) -> None:
    image = np.zeros((96, 96), np.uint8)
    image[20:44, 20:44] = image[60:80, 50:75] = 200
    cv2.imwrite(str(tmp_path / "cells.png"), image)
    words = ["predict", f"input={tmp_path / 'cells.png'}", f"output={tmp_path / 'out'}"]
    assert "2 nuclei in 1 images" in run(python, tmp_path, str(python.with_name("nuclei")), *words)
    assert (tmp_path / "out" / "labels" / "cells.tif").is_file()


def test_help_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    out = run(python, tmp_path, str(python.with_name("nuclei")), "help")
    assert "  predict " in out and "nuclei help COMMAND" in out
    assert "run.sh" not in out and "  bench " not in out  # of a checkout
