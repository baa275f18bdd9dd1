"""Removal of small objects, pixel by pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuclei.postprocess.small_objects import RemoveSmall


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 3)),
    st.integers(0, 30),
)
@settings(deadline=None)
def test_the_size_rule_removes_small_objects_and_nothing_else(areas, min_area):
    labels = np.unique(areas, return_inverse=True)[1].reshape(areas.shape).astype(np.int32)
    before = labels.copy()
    kept = RemoveSmall(min_area)(labels)
    for label in range(1, labels.max() + 1):
        inside = kept[labels == label]
        assert len(set(inside)) == 1
        assert (inside[0] > 0) == (inside.size >= max(min_area, 1))
    assert (kept[labels == 0] == 0).all()
    np.testing.assert_array_equal(labels, before)
