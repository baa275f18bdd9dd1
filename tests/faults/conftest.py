"""A local Kaggle, and a desk to work at."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "strike"))

from desk import Desk
from kaggle_server import KaggleServer
from road import Processes, Workshop, build, digests

STRIKE = Path(__file__).parent / "strike"


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with KaggleServer() as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, server: KaggleServer) -> Desk:
    return Desk(tmp_path, server)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The whole road on a tiny demo set, gone once for all tests that strike or damage it."""
    folder = tmp_path_factory.mktemp("strikes")
    with pytest.MonkeyPatch.context() as patch:  # the process that others are forked from keeps it
        patch.setenv("PYTHONPATH", os.pathsep.join([str(STRIKE), str(STRIKE.parents[2] / "src")]))
        processes = Processes(folder)
        (folder / "finished").mkdir()
        counts = build(folder / "finished", processes)
    return Workshop(folder / "finished", digests(folder / "finished"), processes, counts)
