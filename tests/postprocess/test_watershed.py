"""Watersheds on drawn maps, and what they keep of any mask and markers."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nuclei.data.targets import targets
from nuclei.postprocess.components import Components
from nuclei.postprocess.pipeline import by_name, postprocess
from nuclei.postprocess.watershed import (
    DistanceWatershed,
    MapWatershed,
    OffsetWatershed,
    mask_distances,
    offset_border,
)

CHANNELS = ("nucleus", "border", "distance")
MAPS = MapWatershed(
    low=0.4, high=0.5, border_weight=0.5, distance_weight=0.5, marker_threshold=0.5, sigma=1.0
)

LABELS = np.zeros((20, 40), np.int32)
LABELS[4:16, 4:18], LABELS[4:16, 18:34] = 1, 2
NUCLEUS, Y, X = (targets(LABELS, ["nucleus", "offset_y", "offset_x"]) * 255).astype(np.uint8)


def test_offsets_fall_where_nuclei_touch():
    border = offset_border(Y, X)
    assert (border[6:14, 17:19] == 255).all()
    assert not border[7:13, 7:15].any()


def test_two_nuclei_that_touch_are_told_apart():
    step = OffsetWatershed(0.5, 0.5, 1.0, 0.0, 0.5, 0.0)
    labels = step({"nucleus": NUCLEUS, "offset_y": Y, "offset_x": X})
    assert np.array_equal(labels > 0, LABELS > 0)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (np.abs((labels == labels[10, 8]).sum() - (LABELS == 1).sum())) <= 24


@given(
    st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.sampled_from([0.0, 1.0])
)
@settings(max_examples=60, deadline=None)
def test_the_watershed_keeps_every_marker_and_every_region_and_merges_none(seed, shape, sigma):
    noise = np.stack(
        [cv2.GaussianBlur(n, (0, 0), 1.5) for n in np.random.default_rng(seed).random((3, *shape))]
    )
    image = np.rint((noise - noise.min()) / max(np.ptp(noise), 1e-9) * 255).astype(np.uint8)
    step = replace(MAPS, sigma=sigma)
    labels = step(by_name(image, CHANNELS))
    mask = Components(step.low, step.high)(by_name(image, CHANNELS))
    assert not labels[mask == 0].any()
    score = step.score(by_name(image, CHANNELS))
    score = cv2.GaussianBlur(score, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma else score
    seeds = ((score > 255 * step.marker_threshold) & (mask > 0)).astype(np.uint8)
    markers = cv2.connectedComponents(seeds, connectivity=4)[1]
    owners = [np.unique(labels[markers == m]) for m in range(1, markers.max() + 1)]
    assert all(len(owner) == 1 for owner in owners), "a marker was split"
    assert len({int(owner[0]) for owner in owners}) == len(owners), "two markers were merged"
    without = [r for r in range(1, mask.max() + 1) if not markers[mask == r].any()]
    assert labels.max() == len(owners) + len(without)
    assert all(len(np.unique(labels[mask == r])) == 1 for r in without)
    # What is lost lies between two markers that are mirror images of each other, so of the same size.
    sizes = np.bincount(markers.ravel())[1:]
    assert (labels > 0)[mask > 0].all() or len(set(sizes.tolist())) < len(sizes)


def test_a_dumbbell_is_cut_at_its_waist():
    nucleus = np.zeros((24, 48), np.uint8)
    for x in (14, 33):
        cv2.circle(nucleus, (x, 12), 10, 255, -1)
    border = np.zeros_like(nucleus)
    border[:, 23:25] = nucleus[:, 23:25]
    by_maps = postprocess(
        np.stack([nucleus, border]), ["nucleus", "border"], [replace(MAPS, border_weight=1.0)]
    )
    by_distance = postprocess(
        nucleus[None], ["nucleus"], [DistanceWatershed(low=0.5, high=0.5, sigma=2.0, peak_distance=13)]
    )
    for labels in (by_maps, by_distance):
        assert labels.max() == 2
        assert labels[12, 14] != labels[12, 33]
        np.testing.assert_array_equal(labels > 0, nucleus > 0)


def test_distances_are_quarter_pixels_and_stop_at_255():
    assert mask_distances(np.array([[0, 1, 1, 1, 1]], np.uint8)).tolist() == [[0, 4, 8, 12, 16]]
    wide = np.ones((3, 200), np.uint8)
    wide[:, 0] = 0
    assert mask_distances(wide)[1, 60:70].tolist() == [240, 244, 248, 252, 255, 255, 255, 255, 255, 255]


def test_a_peak_reaches_as_far_as_its_distance():
    mask = np.zeros((13, 40), np.uint8)
    mask[1:12, 1:12] = mask[1:12, 28:39] = mask[5:8, 10:30] = 1
    near = DistanceWatershed(low=0.5, high=0.5, sigma=0, peak_distance=3)({"nucleus": mask * 255})
    far = DistanceWatershed(low=0.5, high=0.5, sigma=0, peak_distance=38)({"nucleus": mask * 255})
    assert near[6, 6] != near[6, 33]
    assert far.max() == 2  # both squares are equally high, and nothing between them is


def test_the_config_states_the_defaults_of_the_class(repo):
    step = OmegaConf.load(repo / "configs" / "postprocess" / "watershed.yaml").steps[0]
    assert (
        MapWatershed(**{name: value for name, value in step.items() if name != "_target_"}) == MapWatershed()
    )
