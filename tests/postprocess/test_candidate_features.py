"""Features of candidates, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops

from nuclei.ensemble.evaluate import Case
from nuclei.postprocess.candidate_features import candidate_features, feature_maps
from nuclei.postprocess.watershed import MapWatershed

CHANNELS = ("nucleus", "border", "distance")
WATERSHED = MapWatershed(
    low=0.5, high=0.5, border_weight=0.5, distance_weight=0.5, marker_threshold=0.5, sigma=1.0
)


def test_shapes_and_maps_are_those_of_scikit_image(disc_cases: list[Case]) -> None:
    maps = dict(zip(CHANNELS, disc_cases[0].maps[0], strict=True))
    labels = WATERSHED(maps)
    (rows,) = candidate_features([labels], maps)
    assert rows.dtype == np.float32 and len(rows) == labels.max()
    for row, region in zip(rows, regionprops(labels, maps["nucleus"]), strict=True):
        assert row[0] == region.area
        assert row[1] == pytest.approx(region.axis_major_length / region.axis_minor_length, 1e-4)
        assert row[6] == pytest.approx(region.intensity_mean) and row[12] == region.intensity_max
    assert (rows[:, -1] == 1).all()  # each object agrees with itself


def test_agreement_is_the_best_iou_with_each_label_map() -> None:
    first, second = np.array([[1, 1, 1, 1, 0, 2]], np.int32), np.array([[1, 1, 1, 0, 0, 0]], np.int32)
    of_first, of_second = candidate_features([first, second], {"nucleus": np.zeros((1, 6), np.uint8)})
    assert of_first[:, -2:].tolist() == [[1, 0.75], [1, 0]]
    assert of_second[:, -2:].tolist() == [[0.75, 1]]


def test_offsets_count_by_their_border(disc_cases: list[Case]) -> None:
    maps = dict(zip(CHANNELS, disc_cases[0].maps[0], strict=True))
    candidates = [WATERSHED(maps)]
    across = np.tile(np.arange(80, dtype=np.uint8) % 15 * 17, (64, 1))
    offsets = {"offset_y": np.full((64, 80), 128, np.uint8), "offset_x": across}
    plain, more, flat = (
        candidate_features(candidates, m)[0]
        for m in (maps, maps | offsets, maps | dict.fromkeys(offsets, offsets["offset_y"]))
    )
    assert more.shape[1] == flat.shape[1] == plain.shape[1] + 3
    assert more.sum() > flat.sum() + 1
    assert feature_maps(maps | offsets) == [*CHANNELS, "offset_border"]


def test_moments_of_large_objects_do_not_overflow() -> None:
    (rows,) = candidate_features(
        [np.ones((2500, 2500), np.int32)], {"nucleus": np.zeros((2500, 2500), np.uint8)}
    )
    assert (
        rows[0, 0] == 2500**2
        and rows[0, 1] == pytest.approx(1)
        and rows[0, 2] == pytest.approx(3 / np.pi, 1e-3)
    )
