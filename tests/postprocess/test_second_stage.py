"""The second stage: its features against scikit-image, its trees against LightGBM, and its choice."""

from __future__ import annotations

from collections.abc import Callable

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops

from nuclei.data.targets import CHANNELS
from nuclei.ensemble.fit_second_stage import N_TREES, fit_selection, grow_trees
from nuclei.ensemble.oof import Case, Evaluator, Setting
from nuclei.errors import UserError
from nuclei.metrics import average_precision
from nuclei.postprocess.components import RemoveSmall
from nuclei.postprocess.pipeline import as_config, postprocess
from nuclei.postprocess.second_stage import SHIFTS, Selection, candidate_features, feature_maps, read_trees
from nuclei.postprocess.watershed import MapWatershed

HALVES = ("low", "high", "border_weight", "distance_weight", "marker_threshold")
PLAIN = dict.fromkeys(HALVES, 0.5) | {"sigma": 1.0}
WATERSHED = MapWatershed(**PLAIN)


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


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2000, 5)).astype(np.float32).round(1)


@pytest.fixture(scope="module")
def text(rows: np.ndarray) -> str:
    return grow_trees(rows, np.sin(rows[:, 0] * 2) * (rows[:, 1] > 0), seed=0)


def test_predictions_are_those_of_lightgbm(rows: np.ndarray, text: str) -> None:
    trees = read_trees(text)
    assert len(trees.roots) == N_TREES
    np.testing.assert_array_equal(trees.predict(rows), lightgbm.Booster(model_str=text).predict(rows))
    with pytest.raises(ValueError, match="expected 5 features, got 4"):
        trees.predict(rows[:, :4])


def test_a_tree_may_be_a_single_leaf() -> None:
    rows = np.zeros((100, 2), np.float32)
    text = grow_trees(rows, np.full(100, 0.25), seed=0)
    np.testing.assert_allclose(read_trees(text).predict(rows), 0.25)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("tree\n", "", None),
        ("max_feature_idx=4", "", "max_feature_idx"),
        ("max_feature_idx=4", "max_feature_idx=0", "a feature that does not exist"),
        ("decision_type=2", "decision_type=1", "something but comparisons of numbers"),
        ("is_linear=0", "is_linear=1", "something but comparisons of numbers"),
        ("left_child=1", "left_child=0", "child is not behind it"),
        ("left_child=1", "left_child=999", "child is not behind it"),
        ("left_child=1", "left_child=-999", "child is not behind it"),
        ("left_child=1", "left_child=1 1", "different lengths"),
        ("leaf_value=", "leaf_value=x", "could not convert"),
        ("Tree=", "Trees=", "there are none"),
    ],
)
def test_damaged_trees_are_refused(text: str, old: str, new: str, problem: str | None) -> None:
    assert old in text
    if problem is None:  # a line that nobody reads
        read_trees(text.replace(old, new))
        return
    with pytest.raises(UserError, match=f"the trees of the post-processing are damaged .*{problem}"):
        read_trees(text.replace(old, new))


@given(st.text(max_size=50))
def test_text_that_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="are damaged"):
        read_trees(text)


ONE = Setting((1.0,))
Turn = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def full(disc_cases: list[Case]) -> Evaluator:
    return Evaluator(disc_cases, CHANNELS, [MapWatershed(**PLAIN), RemoveSmall(20)])


@pytest.fixture(scope="module")
def step(full: Evaluator) -> Selection:
    return fit_selection(full, ONE, range(8), seed=0)


def test_candidates_are_the_watersheds_at_shifted_thresholds(disc_cases: list[Case]) -> None:
    maps = dict(zip(CHANNELS, disc_cases[0].maps[0], strict=True))
    candidates = Selection(**PLAIN).candidates(maps)
    assert len(candidates) == len(SHIFTS)
    for labels, (mask, marker) in zip(candidates, SHIFTS, strict=True):
        shifted = PLAIN | {"low": 0.5 + mask, "high": 0.5 + mask, "marker_threshold": 0.5 + marker}
        assert np.array_equal(labels, RemoveSmall(15)(MapWatershed(**shifted)(maps)))


def test_the_tuned_mask_wins_among_equals_and_weak_candidates_are_dropped() -> None:
    lower, tuned = np.array([[1, 1, 1, 0, 2, 2]], np.int32), np.array([[0, 1, 1, 0, 2, 0]], np.int32)
    layers = [lower if mask else tuned for mask, _ in SHIFTS]
    for score, winner in ((0.73, [[0, 1, 1, 0, 0, 0]]), (0.75, [[1, 1, 1, 0, 0, 0]])):
        scores = [np.array([score if mask else 0.7, 0.2]) for mask, _ in SHIFTS]
        assert Selection(**PLAIN).select(layers, scores).tolist() == winner


def test_trees_of_other_maps_are_refused(step: Selection, disc_cases: list[Case]) -> None:
    with pytest.raises(UserError, match="grown on the maps nucleus border distance, got nucleus border;"):
        postprocess(disc_cases[0].maps[0][:2], CHANNELS[:2], [step])


def test_without_trees_it_is_the_plain_watershed(disc_cases: list[Case]) -> None:
    maps = disc_cases[0].maps[0]
    plain = postprocess(maps, CHANNELS, [MapWatershed(**PLAIN), RemoveSmall(15)])
    assert np.array_equal(postprocess(maps, CHANNELS, [Selection(**PLAIN)]), plain)


def test_it_beats_the_plain_watershed_on_images_it_has_not_seen(full: Evaluator, step: Selection) -> None:
    def score(steps: list[MapWatershed]) -> float:
        return float(
            np.mean(
                [average_precision(c.truth, postprocess(c.maps[0], CHANNELS, steps)) for c in full.cases[8:]]
            )
        )

    assert score([step]) > score(full.steps) + 0.05


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.transpose], ids=lambda f: f.__name__)
def test_flips_change_nothing_but_the_numbering(step: Selection, disc_cases: list[Case], turn: Turn) -> None:
    maps = disc_cases[9].maps[0]
    a = turn(postprocess(maps, CHANNELS, [step]))
    b = postprocess(np.stack([turn(m) for m in maps]), CHANNELS, [step])
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    assert len(pairs) == a.max() + 1 == b.max() + 1 > 5


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (30, 30)])
def test_flat_maps_are_no_trouble(step: Selection, shape: tuple[int, int], value: int) -> None:
    labels = postprocess(np.full((3, *shape), value, np.uint8), CHANNELS, [step])
    assert labels.shape == shape and labels.dtype == np.int32


def test_it_is_written_and_shown_as_other_steps_are(step: Selection) -> None:
    (written,) = as_config([step])
    assert written.pop("_target_") == "nuclei.postprocess.second_stage.Selection"
    assert Selection(**written) == step
    assert step.trees not in str(step) and "low=0.5" in str(step)
