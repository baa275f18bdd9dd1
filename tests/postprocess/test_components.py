"""Connected components against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nuclei.postprocess.components import Components, OtsuComponents, label_mask


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_regions_are_those_of_scipy(seed: int, height: int, width: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < 0.6).astype(np.uint8)
    labels, (expected, n) = label_mask(mask), ndimage.label(mask)
    assert labels.dtype == np.int32
    assert (
        len(set(zip(labels.ravel(), expected.ravel(), strict=True)) | {(0, 0)}) == n + 1 == labels.max() + 1
    )


@pytest.mark.parametrize("step", [Components(low=0.4, high=0.6), OtsuComponents()])
def test_nuclei_that_touch_by_an_edge_are_one_and_by_a_corner_two(step: Components | OtsuComponents) -> None:
    nucleus = np.array([[200, 190, 0, 0], [0, 180, 0, 0], [0, 0, 210, 220]], np.uint8)
    assert step({"nucleus": nucleus}).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 2, 2]]


def test_components_have_no_holes_and_no_weak_regions() -> None:
    nucleus = np.array([[150, 200, 150, 0, 0], [150, 0, 150, 0, 150], [150, 150, 150, 0, 150]], np.uint8)
    labels = Components(low=0.4, high=0.6)({"nucleus": nucleus})
    assert labels.tolist() == [[1, 1, 1, 0, 0]] * 3
