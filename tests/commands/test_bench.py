"""The bench on a few drawn images: every part runs, ours and the peers agree, and the table appears."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def bench(repo: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(repo / "src")}
    command = [sys.executable, "-m", "nuclei", "bench", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_every_part_has_its_rows(repo: Path, tmp_path: Path) -> None:
    for peer in ("stardist.matching", "pycocotools.mask"):
        pytest.importorskip(peer, reason="a peer of requirements-bench.txt")
    drawn = ["data=demo", "data.source.n_train=10", "data.source.n_test=2"]
    small = ["images=2", "rows=100", "repeats=1", "searches=1", "trials=18", "members=2", "workers=1"]
    done = bench(repo, tmp_path, *drawn, *small)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "2 images of demo" in done.stdout and "made of the truth" in done.stdout
    # two for metric, run-length code and post-processing, three for CSV, one for second stage and search
    assert sum(line.startswith("| ") and "×" in line for line in lines) == 11
    assert "18 trials, 10 images" in done.stdout and "plain chain 0." in done.stdout


def test_an_unknown_part_is_named(repo: Path, tmp_path: Path) -> None:
    done = bench(repo, tmp_path, "data=demo", "parts=[metrics]")
    assert done.returncode == 2
    assert "no part metrics; they are metric, encoding, csv, postprocess, second_stage, search" in done.stderr
