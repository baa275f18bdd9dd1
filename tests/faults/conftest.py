"""A local Kaggle, and a desk to work at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "strike"))

from desk import Desk
from kaggle_server import KaggleServer


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with KaggleServer() as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, server: KaggleServer) -> Desk:
    return Desk(tmp_path, server)
