"""Intervals, groups of images, calibration."""

from __future__ import annotations

import numpy as np
import pytest

from nuclei.analysis.score_statistics import (
    calibration_counts,
    calibration_curve,
    calibration_error,
    correlation,
    crowding,
    diameters,
    group_images,
    mean_interval,
)
from nuclei.data.folds import FoldRow


def test_the_interval_is_that_of_independent_images() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    mean, low, high = mean_interval(values, range(400))
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / 20, rel=0.15)


def test_tiles_of_one_picture_are_no_evidence_of_their_own() -> None:
    few = np.random.default_rng(0).normal(0.5, 0.1, 20)
    alone = mean_interval(few, range(20))
    tiles = mean_interval(np.repeat(few, 10), np.repeat(range(20), 10))
    assert tiles.high - tiles.low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_one_group_gives_no_interval() -> None:
    mean, low, high = mean_interval(np.array([0.2, 0.4]), ["a", "a"])
    assert mean == pytest.approx(0.3) and np.isnan(low) and np.isnan(high)


def test_maps_that_are_right_are_calibrated_and_an_honest_guess_is_too() -> None:
    truth = np.zeros((10, 20), np.int32)
    truth[:, :5] = 1
    perfect = np.where(truth > 0, 255, 0).astype(np.uint8)[None]
    assert calibration_error(calibration_counts(perfect, ["nucleus"], truth)[0]) == 0
    guess = np.full((1, 10, 20), 64, np.uint8)
    predicted, target, pixels = calibration_curve(calibration_counts(guess, ["nucleus"], truth)[0])
    assert (predicted, target, pixels) == (pytest.approx([64 / 255]), [0.25], [200])
    wrong = 255 - perfect
    assert calibration_error(calibration_counts(wrong, ["nucleus"], truth)[0]) == 1


def test_sizes_and_neighbours() -> None:
    labels = np.zeros((20, 40), np.int32)
    labels[2:8, 2:8], labels[2:8, 9:15], labels[2:8, 18:24] = 1, 2, 3
    assert crowding(labels) == pytest.approx(2 / 3)
    np.testing.assert_allclose(diameters(labels), np.sqrt(36 * 4 / np.pi))
    assert crowding(np.zeros((4, 4), np.int32)) == 0


def test_images_are_grouped_by_fold_modality_size_and_crowding() -> None:
    rows = [FoldRow("x", fold, 0, "histology", 32, width, 3) for fold, width in ((0, 36), (1, 40))]
    groups = group_images(rows, [12.0, float("nan")], [0.05, 0.7])
    assert list(groups.values()) == [
        ["fold 0", "fold 1"],
        ["histology", "histology"],
        ["32×36", "32×40"],
        ["10 to 15 px", "no nuclei"],
        ["under 10 %", "60 % and more"],
    ]


def test_scores_that_do_not_vary_have_no_correlation() -> None:
    rising = np.array([0.1, 0.2, 0.4])
    assert correlation(rising, 2 * rising) == pytest.approx(1) and correlation(rising, -rising) < 0
    assert np.isnan(correlation(rising, np.ones(3)))
