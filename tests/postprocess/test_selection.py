"""The second stage: candidates, trees, and the choice."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from nuclei.ensemble.evaluate import Case, Evaluator, Setting
from nuclei.ensemble.tree_growing import examples, grow, grown, second_stage
from nuclei.ensemble.tune import Tuned
from nuclei.errors import UserError
from nuclei.metrics import average_precision
from nuclei.postprocess.pipeline import as_config, postprocess
from nuclei.postprocess.second_stage.boosted_trees import Trees, unpack
from nuclei.postprocess.second_stage.candidate_features import features
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


def drawn(seed: int) -> Case:
    """Discs that touch, and weak stains that are no nuclei; each image wants markers of its own threshold."""
    rng = np.random.default_rng(seed)
    truth, maps = np.zeros((64, 80), np.int32), np.zeros((3, 64, 80), np.float32)
    level = rng.uniform(0.3, 0.7)
    for n in range(12):
        y, x = 8 + 16 * (n // 4), 8 + 15 * (n % 4) + int(rng.integers(0, 3))
        if n % 5 == 4:
            cv2.circle(maps[0], (x, y), 5, 0.65, -1)
            continue
        cv2.circle(truth, (x, y), 7, n + 1, -1)
        own = truth == n + 1
        middle = cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, 5) / 7
        maps[0][own], maps[2][own] = 0.95, (middle * level * 1.9)[own]
        maps[1][own] = (middle < 0.3)[own] * 0.8
    maps += rng.normal(0, 0.04, maps.shape)
    return Case(
        np.rint(np.clip(maps, 0, 1) * 255).astype(np.uint8)[None],
        np.unique(truth, return_inverse=True)[1].reshape(64, 80),
    )


@pytest.fixture(scope="module")
def full() -> Evaluator:
    return Evaluator([drawn(n) for n in range(12)], CHANNELS, [MapWatershed(**PLAIN), RemoveSmall(20)])


@pytest.fixture(scope="module")
def step(full: Evaluator) -> Selection:
    return grown(full, ONE, range(8), seed=0)


def test_trees_say_what_scikit_learn_says() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 5)).astype(np.float32).round(1)
    target = np.sin(rows[:, 0] * 2) * (rows[:, 1] > 0)
    trees = grow(rows, target, seed=0)
    theirs = HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.08, min_samples_leaf=40, random_state=0
    )
    np.testing.assert_allclose(trees.predict(rows), theirs.fit(rows, target).predict(rows), atol=1e-5)
    again = unpack(trees.pack())
    assert np.array_equal(again.predict(rows), trees.predict(rows)) and again.pack() == trees.pack()
    with pytest.raises(ValueError, match="expected 5 columns, got 4"):
        trees.predict(rows[:, :4])


@pytest.mark.parametrize("text", ["x", "AAAA", "é"])
def test_damaged_trees_are_named(text: str) -> None:
    with pytest.raises(UserError, match="are damaged"):
        unpack(text)


def test_offsets_count_by_their_falls() -> None:
    maps = dict(zip(CHANNELS, drawn(0).maps[0], strict=True))
    found = Selection(**PLAIN).candidates(maps)
    across = np.tile(np.arange(80, dtype=np.uint8) % 15 * 17, (64, 1))
    offsets = {"offset_y": np.full((64, 80), 128, np.uint8), "offset_x": across}
    plain, more, flat = (
        features(found, m)[0]
        for m in (maps, maps | offsets, maps | dict.fromkeys(offsets, offsets["offset_y"]))
    )
    assert more.shape[1] == flat.shape[1] == plain.shape[1] + 3
    assert more.sum() > flat.sum() + 1


def test_trees_of_other_maps_are_refused(step: Selection) -> None:
    with pytest.raises(UserError, match="grown on the maps nucleus border distance, got nucleus border;"):
        postprocess(drawn(0).maps[0][:2], CHANNELS[:2], [step])


def test_moments_of_large_objects_do_not_overflow() -> None:
    (rows,) = features([np.ones((2500, 2500), np.int32)], {"nucleus": np.zeros((2500, 2500), np.uint8)})
    assert (
        rows[0, 0] == 2500**2
        and rows[0, 1] == pytest.approx(1)
        and rows[0, 2] == pytest.approx(3 / np.pi, 1e-3)
    )


def test_a_walk_that_would_not_end_is_refused() -> None:
    one = np.zeros(1, np.int32)
    loop = Trees(0.0, 1, one, np.zeros(1, np.int16), np.zeros(1, np.float32), one, one)
    with pytest.raises(UserError, match="child is not behind it"):
        unpack(loop.pack())


def test_without_trees_it_is_the_plain_watershed() -> None:
    maps = drawn(0).maps[0]
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
def test_flips_change_nothing_but_the_numbering(step: Selection, turn) -> None:
    maps = drawn(9).maps[0]
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


def test_examples_are_the_shares_of_thresholds(full: Evaluator) -> None:
    case = full.cases[0]
    rows, target = examples(Selection(**PLAIN), case, (1.0,), CHANNELS)
    assert rows.dtype == np.float32 and len(rows) == len(target)
    assert set(np.round(target * 10).astype(int)) <= set(range(11)) and 0 < target.mean() < 1
    same = Case(
        np.repeat(case.truth[None, None].astype(bool), 3, 1).astype(np.uint8) * 255,
        (case.truth > 0).astype(int),
    )
    _, exact = examples(replace(Selection(**PLAIN), border_weight=0.0, sigma=0.0), same, (1.0,), CHANNELS)
    assert len(exact) >= len(SHIFTS)


def test_the_score_of_a_fold_does_not_depend_on_its_truth(full: Evaluator) -> None:
    folds = [n % 3 for n in range(12)]
    tuned = Tuned(
        ONE, np.zeros((12, 10)), np.zeros((12, 10)), np.zeros((12, 10)), dict.fromkeys(range(3), ONE)
    )
    _, first = second_stage(full, folds, tuned, 0)
    cases = [Case(c.maps, c.truth * (n % 3 != 0)) for n, c in enumerate(full.cases)]
    other = Evaluator(cases, CHANNELS, full.steps)
    _, second = second_stage(other, folds, tuned, 0)
    rest = np.array(folds) > 0
    assert not np.array_equal(first.nested[rest], second.nested[rest])  # their trees saw fold 0 as it is now
    seen = [n for n in range(12) if folds[n]]
    assert grown(full, ONE, seen, 0) == grown(other, ONE, seen, 0)
    assert first.nested[~rest].mean() > 0.3 > second.nested[~rest].mean()
