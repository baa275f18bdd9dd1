"""Scores of settings are those of the metric, computed once for each image."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.data.folds import FoldRow, folds_sha256
from nuclei.data.store import Store
from nuclei.ensemble import evaluate
from nuclei.ensemble.evaluate import (
    Case,
    Evaluator,
    Setting,
    blend,
    count_matches,
    load_cases,
    score_untuned,
    shared_channels,
)
from nuclei.ensemble.oof import load_oof
from nuclei.errors import UserError
from nuclei.metrics import average_precision, confusion
from nuclei.postprocess.components import Components, RemoveSmall

STEPS = [Components(low=0.5, high=0.5), RemoveSmall(min_area=1)]


@pytest.fixture
def cases() -> list[Case]:
    """Images with four discs; in the maps the first disc of image n is thinner by n pixels."""
    cases = []
    for n in range(4):
        truth, seen = np.zeros((40, 40), np.int32), np.zeros((40, 40), np.int32)
        for label, (y, x) in enumerate([(10, 10), (10, 29), (29, 10), (29, 29)], start=1):
            cv2.circle(truth, (x, y), 6, label, -1)
            cv2.circle(seen, (x, y), 6 - n * (label == 1), label, -1)
        good, noise = (200 * (seen > 0)).astype(np.uint8), np.full(truth.shape, 90, np.uint8)
        cases.append(Case(np.stack([good, noise])[:, None], truth))
    return cases


def test_scores_are_those_of_the_metric(cases: list[Case]) -> None:
    evaluator = Evaluator(cases, ["nucleus"], STEPS, workers=2)
    setting = Setting((1.0, 0.0), (("low", 0.3),))
    expected = []
    for c in cases:
        labels = Components(low=0.3, high=0.5)({"nucleus": c.maps[0][0]})
        expected.append(average_precision(c.truth, RemoveSmall(1)(labels)))
    np.testing.assert_allclose(evaluator.precision(setting, range(4)).mean(axis=1), expected)
    assert evaluator.score(setting, [1, 3]) == pytest.approx(np.mean([expected[1], expected[3]]))


def test_a_known_score_is_not_computed_again(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, setting = Evaluator(cases, ["nucleus"], STEPS), Setting((1.0, 0.0))
    first = evaluator.precision(setting, [0, 2])
    calls = []
    monkeypatch.setattr(evaluate, "blend", lambda maps, weights: calls.append(1) or maps[0])
    np.testing.assert_array_equal(evaluator.precision(setting, [2, 0]), first[::-1])
    assert not calls
    evaluator.precision(setting, [0, 1])
    assert len(calls) == 1


def test_an_untuned_run_is_scored_with_its_steps(cases: list[Case]) -> None:
    alone = [Case(case.maps[:1], case.truth) for case in cases]
    score = score_untuned("otsu/x", "components", Evaluator(alone, ["nucleus"], STEPS))
    assert (score.name, score.setting) == ("otsu/x", "components") and score.precision.shape == (4, 10)
    assert score.precision[0].mean() == 1 > score.precision[3].mean()


def test_the_middle_of_a_case() -> None:
    truth = np.arange(60).reshape(6, 10)
    middle = Case(np.stack([truth, -truth])[None], truth).middle(4)
    np.testing.assert_array_equal(middle.truth, truth[1:5, 3:7])
    np.testing.assert_array_equal(middle.maps[0, 1], -truth[1:5, 3:7])
    assert Case(truth[None, None], truth).middle(100).truth.shape == (6, 10)


def test_cases_and_matches_are_read_from_runs(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> None:
    draw_runs(tmp_path)
    rows = [FoldRow(f"image{n}", n % 2, n, "x", 32, 36, 3) for n in range(8)]
    sha256 = folds_sha256(tmp_path / "folds.csv")
    members = [
        load_oof(tmp_path / "runs/demo" / model / "default", rows, sha256) for model in ("unet", "otsu")
    ]
    store = Store(tmp_path / "x.store")
    cases = load_cases(members, ["nucleus"], store, rows)
    assert len(cases) == 8 and cases[0].maps.shape == (2, 1, 32, 36)
    np.testing.assert_array_equal(cases[3].truth, store.labels("image3"))
    np.testing.assert_array_equal(cases[3].maps[0], members[0].maps(["image3"], ["nucleus"])[0])
    counts = count_matches(members[1], store, rows, STEPS, workers=1)
    assert list(counts) == [row.image_id for row in rows]
    labels = Components(low=0.5, high=0.5)({"nucleus": cases[0].maps[1, 0]})
    np.testing.assert_array_equal(counts["image0"], confusion(cases[0].truth, labels))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_uint8_maps_against_exact_fractions(seed: int, members: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [generator.integers(0, 256, (2, 3, 4), np.uint8) for _ in range(members)]
    weights = [Fraction(int(x), 1) for x in generator.integers(1, 100, members)]
    weights = [w / sum(weights) for w in weights]
    exact = sum(
        (m.astype(object) * w for m, w in zip(maps, weights, strict=True)), start=np.array(Fraction(0))
    )
    got = blend(maps, [float(w) for w in weights])
    assert got.dtype == np.uint8
    assert (abs(got.astype(object) - exact) <= Fraction(1, 2) + Fraction(1, 10**4)).all()


@given(st.integers(0, 2**32 - 1))
def test_float_maps_stay_float_and_within_bounds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [generator.random((1, 3, 3)), np.ones((1, 3, 3), np.float16), np.ones((1, 3, 3), np.float32)]
    weights = generator.dirichlet([1, 1, 1])
    got = blend(maps, weights.tolist())
    assert got.dtype == np.float32 and got.max() <= 1
    np.testing.assert_allclose(got, np.average(maps, axis=0, weights=weights), atol=1e-6)


def test_one_member_and_weight_zero_change_nothing() -> None:
    a, b = np.full((1, 2, 2), 77, np.uint8), np.full((1, 2, 2), 200, np.uint8)
    np.testing.assert_array_equal(blend([a], [1.0]), a)
    np.testing.assert_array_equal(blend([a, b], [0.0, 1.0]), b)
    assert blend([a], [1.0]) is not a


def test_what_does_not_go_together_is_refused() -> None:
    a = np.zeros((1, 2, 2), np.uint8)
    for weights in ([0.5, 0.4], [1.5, -0.5], [1.0]):
        with pytest.raises(ValueError, match="sum 1"):
            blend([a, a], weights)
    for other in (a[:, :1], a.astype(np.float32)):
        with pytest.raises(ValueError, match="one shape and dtype"):
            blend([a, other], [0.5, 0.5])


def test_shared_channels_keep_the_first_order() -> None:
    assert shared_channels([("border", "nucleus", "distance"), ("nucleus", "border")]) == (
        "border",
        "nucleus",
    )
    with pytest.raises(UserError, match="no channel nucleus in all runs"):
        shared_channels([("nucleus",), ("border",)])
