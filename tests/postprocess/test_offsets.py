"""Borders from maps that say where in its nucleus a pixel lies."""

import numpy as np

from nuclei.data.targets import targets
from nuclei.postprocess.offsets import OffsetWatershed, falls

LABELS = np.zeros((20, 40), np.int32)
LABELS[4:16, 4:18], LABELS[4:16, 18:34] = 1, 2
NUCLEUS, Y, X = (targets(LABELS, ["nucleus", "offset_y", "offset_x"]) * 255).astype(np.uint8)


def test_offsets_fall_where_nuclei_touch():
    border = falls(Y, X)
    assert (border[6:14, 17:19] == 255).all()
    assert not border[7:13, 7:15].any()


def test_two_nuclei_that_touch_are_told_apart():
    step = OffsetWatershed(0.5, 0.5, 1.0, 0.0, 0.5, 0.0)
    found = step({"nucleus": NUCLEUS, "offset_y": Y, "offset_x": X})
    assert np.array_equal(found > 0, LABELS > 0)
    assert set(np.unique(found)) == {0, 1, 2}
    assert (np.abs((found == found[10, 8]).sum() - (LABELS == 1).sum())) <= 24
