"""Compiled loops: kept on disk, compiled anew where the kept ones are damaged or no place is writable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILES = "compiling the loops of nuclei.labelmap"
CODE = """
import sys; sys.path.insert(0, {folder!r})
from loops import total
print(total(5))
"""
LOOPS = """
from nuclei.labelmap import compiled

@compiled
def total(n):
    out = 0
    for k in range(n):
        out += k
    return out
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of one compiled loop."""
    (tmp_path / "loops.py").write_text(LOOPS)
    return tmp_path


def total(folder: Path, **more: str) -> str:
    """Run the loop in a process of its own and return what it said on stderr."""
    src = str(Path(__file__).parents[2] / "src")
    env = os.environ | {"PYTHONPATH": src, "PYTHONDONTWRITEBYTECODE": "1", **more}
    words = [sys.executable, "-c", CODE.format(folder=str(folder))]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "10\n", done.stderr
    return done.stderr


def test_a_loop_is_compiled_once(folder: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(folder / "cache")}
    assert total(folder, **cache).startswith(COMPILES)
    assert total(folder, **cache) == ""


@pytest.mark.parametrize(
    ("suffix", "damage"), [("nbi", "empty"), ("nbi", "changed"), ("nbc", "cut"), ("nbc", "changed")]
)
def test_a_damaged_file_of_the_cache_is_made_anew(folder: Path, suffix: str, damage: str) -> None:
    cache = {"NUMBA_CACHE_DIR": str(folder / "cache")}
    total(folder, **cache)
    path = next((folder / "cache").rglob(f"*.{suffix}"))
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "changed": b"x" + data[1:]}[damage])
    assert COMPILES in total(folder, **cache)
    assert total(folder, **cache) == ""


def test_where_nothing_can_be_written_the_loop_still_runs(folder: Path) -> None:
    """As in a container whose files are read-only; root may write everywhere, so files stand in the way."""
    (folder / "__pycache__").write_text("")
    (folder / "file").write_text("")
    message = total(folder, HOME=str(folder / "file"), XDG_CACHE_HOME=str(folder / "file"))
    assert "set NUMBA_CACHE_DIR=FOLDER" in message
