"""What holds for every post-processing that a config names, on any maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuclei.errors import UserError
from nuclei.postprocess.components import Components
from nuclei.postprocess.pipeline import as_config, by_name, postprocess, with_parameters
from nuclei.postprocess.small_objects import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "postprocess").glob("*.yaml"))
CHANNELS = ("nucleus", "border", "distance")

MAPS = MapWatershed(
    low=0.4, high=0.5, border_weight=0.5, distance_weight=0.5, marker_threshold=0.5, sigma=1.0
)


def build(path: Path) -> list:
    return [instantiate(step) for step in yaml.safe_load(path.read_text())["steps"]]


@st.composite
def maps(draw) -> np.ndarray:
    """Blobs of random sizes: noise, smoothed, spread over the whole range again."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((3, *shape))
    sigma = draw(st.sampled_from([0.5, 1.5, 3.0]))
    smooth = np.stack([cv2.GaussianBlur(channel, (0, 0), sigma) for channel in noise])
    spread = (smooth - smooth.min()) / max(np.ptp(smooth), 1e-9)
    return np.rint(spread * 255).astype(np.uint8)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@given(image=maps())
@settings(max_examples=40, deadline=None)
def test_labels_are_int32_without_gaps_and_each_object_is_connected(path, image):
    before = image.copy()
    labels = postprocess(image, CHANNELS, build(path))
    assert labels.dtype == np.int32 and labels.shape == image.shape[1:]
    assert set(np.unique(labels)) | {0} == set(range(labels.max() + 1))
    for label in range(1, labels.max() + 1):
        assert cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)[0] == 2
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@given(image=maps())
@settings(max_examples=20, deadline=None)
def test_the_dtype_of_the_maps_does_not_matter(path, image):
    steps = build(path)
    expected = postprocess(image, CHANNELS, steps)
    for dtype in (np.float16, np.float32, np.float64):
        floats = (image / 255).astype(dtype)
        before = floats.copy()
        np.testing.assert_array_equal(postprocess(floats, CHANNELS, steps), expected)
        np.testing.assert_array_equal(floats, before)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@given(image=maps(), turn=st.sampled_from(["rows", "columns", "transpose"]))
@settings(max_examples=60, deadline=None)
def test_flips_change_nothing_but_the_numbering(path, image, turn):
    turned = {
        "rows": lambda a: a[..., ::-1, :],
        "columns": lambda a: a[..., ::-1],
        "transpose": lambda a: a.swapaxes(-1, -2),
    }[turn]
    steps = build(path)
    a = turned(postprocess(image, CHANNELS, steps))
    b = postprocess(turned(image), CHANNELS, steps)
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)) | {(0, 0)}
    assert len(pairs) == a.max() + 1 == b.max() + 1


@given(image=maps(), sigma=st.sampled_from([0.0, 1.0]))
@settings(max_examples=60, deadline=None)
def test_the_watershed_keeps_every_marker_and_every_region_and_merges_none(image, sigma):
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


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 3)),
    st.integers(0, 30),
)
@settings(deadline=None)
def test_the_size_rule_removes_small_objects_and_nothing_else(areas, least):
    labels = np.unique(areas, return_inverse=True)[1].reshape(areas.shape).astype(np.int32)
    kept = RemoveSmall(least)(labels)
    for label in range(1, labels.max() + 1):
        inside = kept[labels == label]
        assert len(set(inside)) == 1
        assert (inside[0] > 0) == (inside.size >= max(least, 1))
    assert (kept[labels == 0] == 0).all()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (64, 64)])
@pytest.mark.parametrize("value", [0, 255])
def test_empty_full_and_tiny_images(path, shape, value):
    labels = postprocess(np.full((1, *shape), value, np.uint8), ["nucleus"], [build(path)[0]])
    np.testing.assert_array_equal(labels, np.full(shape, value // 255))


def test_a_dumbbell_is_cut_at_its_waist():
    nucleus = np.zeros((24, 48), np.uint8)
    for x in (14, 33):
        cv2.circle(nucleus, (x, 12), 10, 255, -1)
    border = np.zeros_like(nucleus)
    border[:, 23:25] = nucleus[:, 23:25]
    by_maps = postprocess(
        np.stack([nucleus, border]), ["nucleus", "border"], [replace(MAPS, border_weight=1.0)]
    )
    by_distance = postprocess(nucleus[None], ["nucleus"], build(CONFIGS[1]))
    for labels in (by_maps, by_distance):
        assert labels.max() == 2
        assert labels[12, 14] != labels[12, 33]
        np.testing.assert_array_equal(labels > 0, nucleus > 0)


def test_wrong_maps_are_refused():
    steps = [Components(low=0.5, high=0.5)]
    with pytest.raises(UserError, match="nucleus"):
        postprocess(np.zeros((1, 4, 4), np.uint8), ["border"], steps)
    with pytest.raises(UserError, match="no steps"):
        postprocess(np.zeros((1, 4, 4), np.uint8), ["nucleus"], [])
    with pytest.raises(ValueError, match="shape"):
        postprocess(np.zeros((2, 4, 4), np.uint8), ["nucleus"], steps)
    with pytest.raises(ValueError, match="int64"):
        postprocess(np.zeros((1, 4, 4), int), ["nucleus"], steps)
    for value in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match="probabilities"):
            postprocess(np.full((1, 4, 4), value), ["nucleus"], steps)


def test_parameters_reach_the_step_that_has_them_and_survive_a_config():
    steps = with_parameters([MAPS, RemoveSmall(20)], {"min_area": 3, "low": 0.2})
    assert steps == [replace(MAPS, low=0.2), RemoveSmall(3)]
    assert [instantiate(step) for step in as_config(steps)] == steps
    with pytest.raises(UserError, match="no step has a parameter minarea"):
        with_parameters(steps, {"minarea": 3})
    with pytest.raises(UserError, match="several"):
        with_parameters([RemoveSmall(2), RemoveSmall(2)], {"min_area": 3})
