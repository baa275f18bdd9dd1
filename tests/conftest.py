"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Several workers share the cores, so that none of them, nor what they start, takes more than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no defect, so an example may take any time.
settings.register_profile("nuclei", deadline=None)
settings.load_profile("nuclei")


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]
