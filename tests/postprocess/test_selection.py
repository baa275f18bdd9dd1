"""The second stage: its candidates, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nuclei.ensemble.evaluate import Case, Evaluator, Setting
from nuclei.ensemble.tree_growing import fit_selection
from nuclei.errors import UserError
from nuclei.metrics import average_precision
from nuclei.postprocess.pipeline import as_config, postprocess
from nuclei.postprocess.second_stage.selection import SHIFTS, Selection
from nuclei.postprocess.small_objects import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed

CHANNELS = ("nucleus", "border", "distance")
PLAIN = {
    "low": 0.5,
    "high": 0.5,
    "border_weight": 0.5,
    "distance_weight": 0.5,
    "marker_threshold": 0.5,
    "sigma": 1.0,
}
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
    assert written.pop("_target_") == "nuclei.postprocess.second_stage.selection.Selection"
    assert Selection(**written) == step
    assert step.trees not in str(step) and "low=0.5" in str(step)
