"""A local Kaggle, a sandbox to run commands in, and the demo pipeline to disturb."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "fault_injection"))

from demo_pipeline import Baseline, Processes, build, digests
from kaggle_server import KaggleServer
from sandbox import Sandbox

STRIKE = Path(__file__).parent / "fault_injection"


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with KaggleServer() as running:
        yield running


@pytest.fixture
def sandbox(tmp_path: Path, server: KaggleServer) -> Sandbox:
    return Sandbox(tmp_path, server)


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """The whole pipeline on a tiny demo set, gone once for all tests that strike or damage it."""
    folder = tmp_path_factory.mktemp("strikes")
    with pytest.MonkeyPatch.context() as patch:  # the process that others are forked from keeps it
        patch.setenv("PYTHONPATH", os.pathsep.join([str(STRIKE), str(STRIKE.parents[2] / "src")]))
        processes = Processes(folder)
        (folder / "finished").mkdir()
        counts = build(folder / "finished", processes)
    return Baseline(folder / "finished", digests(folder / "finished"), processes, counts)
