"""Findings on drawn images, for the tests of tables, plots and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from nuclei.analysis.error_types import ERROR_TYPES
from nuclei.analysis.image_analysis import Findings, Suspect


def found(n: int) -> Findings:
    """Return findings on an image with a score of n / 10 and n merges, whose mending gains 0.2."""
    precision = np.full(10, n / 10)
    return Findings(
        image_id=f"image{n}",
        precision=precision,
        mended={t: precision + (0.2 if t == "merge" else 0) for t in ERROR_TYPES},
        counts={t: n if t == "merge" else 0 for t in ERROR_TYPES},
        member_precision=np.stack([precision, precision / 2]),
        other_precision=precision - 0.05,
        nuclei=(20, 20 - n),
        diameters=np.full(20, 10.0 + n),
        best_iou=np.linspace(0, 1, 20),
        crowding=0.1 * n,
        calibration=np.ones((1, 256, 2)),
        suspects=[Suspect(f"image{n}", "miss", 1, 2, 3, 16, 0.9)],
    )


@pytest.fixture
def findings() -> list[Findings]:
    """The findings on four images."""
    return [found(n) for n in range(1, 5)]
