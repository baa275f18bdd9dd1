"""Properties of every post-processing that a config names, on any maps, and the pipeline around the steps."""

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

from nuclei.errors import UserError
from nuclei.postprocess.components import Components, RemoveSmall
from nuclei.postprocess.pipeline import as_config, postprocess, with_parameters
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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (64, 64)])
@pytest.mark.parametrize("value", [0, 255])
def test_empty_full_and_tiny_images(path, shape, value):
    labels = postprocess(np.full((1, *shape), value, np.uint8), ["nucleus"], [build(path)[0]])
    np.testing.assert_array_equal(labels, np.full(shape, value // 255))


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
