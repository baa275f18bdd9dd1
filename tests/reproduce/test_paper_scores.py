"""The scores of the papers, against slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mutual_info_score

from nuclei.reproduce.paper_scores import (
    HeldOutScores,
    cells,
    interval,
    v_scores,
)

MAPS = arrays(np.int64, (6, 7), elements=st.integers(0, 3))


@settings(deadline=None, max_examples=50)
@given(MAPS, arrays(np.int64, (6, 7), elements=st.integers(1, 3)))
def test_v_scores_agree_with_counting_pairs(truth, predicted):
    if not truth.any():
        return
    t, s = truth[truth > 0], predicted[truth > 0]
    same_t, same_s = t[:, None] == t, s[:, None] == s
    rand, info = v_scores(truth, predicted)
    assert rand == pytest.approx(2 * (same_t & same_s).sum() / (same_t.sum() + same_s.sum()))
    entropies = mutual_info_score(t, t) + mutual_info_score(s, s)
    expected = 2 * mutual_info_score(t, s) / entropies if entropies > 0 else 1.0
    assert info == pytest.approx(expected, abs=1e-9)


def test_the_same_partition_scores_one_and_membranes_do_not_count():
    truth = np.array([[1, 1, 0, 2, 2]])
    assert v_scores(truth, np.array([[5, 5, 5, 7, 7]])) == pytest.approx((1, 1))
    assert v_scores(truth, np.array([[5, 5, 7, 7, 7]])) == pytest.approx((1, 1))
    assert v_scores(truth, np.ones((1, 5), int))[0] < 1


def test_cells_grow_until_their_membranes_are_lines():
    inside = np.full((9, 12), 255, np.uint8)
    inside[:, 4:8] = 10
    parted = cells(inside, 0.5)
    assert parted.min() == 1 and parted.max() == 2
    assert (parted[:, :4] == 1).all() and (parted[:, 8:] == 2).all()
    assert (cells(np.zeros((3, 4), np.uint8), 0.5) == 1).all()


def test_the_best_threshold_counts():
    inside = np.full((9, 12), 250, np.uint8)
    inside[:, 5] = 160  # parts the cells only above 0.63
    truth = np.ones((9, 12), int)
    truth[:, 5], truth[:, 6:] = 0, 2
    scores = HeldOutScores(["nucleus"], membranes=True, inside=[(inside, truth)])
    assert scores.v_by_threshold.max(axis=(0, 1)) == pytest.approx((1, 1))


def test_scores_of_two_images_are_means_over_images_and_over_pixels():
    truth = np.zeros((4, 8), np.int32)
    truth[:2, :4], truth[2:, 4:] = 1, 2
    half = np.where(truth == 1, 1, 0).astype(np.int32)
    scores = HeldOutScores(["nucleus"])
    maps = np.zeros((1, 4, 8), np.uint8)
    for image_id, labels in (("a", truth), ("b", half)):
        scores.add(image_id, maps, labels, truth, np.array([0, 1, 1]))
    assert scores.scores()["mAP"] == pytest.approx((1 + 0.5) / 2)
    assert scores.scores()["mean IoU"] == pytest.approx((1 + 0.5) / 2)
    assert scores.scores()["IoU"] == pytest.approx(24 / 32) and "V_rand" not in scores.scores()
    assert scores.scores()["accuracy"] == pytest.approx(56 / 64)
    assert scores.classes == ["background", "nucleus"]


def test_classes_are_scored_by_the_class_map():
    channels = ["background", "class_round", "class_long"]
    truth = np.array([[0, 1, 1, 2]], np.int32)
    maps = np.array([[[255, 0, 0, 0]], [[0, 255, 0, 0]], [[0, 0, 255, 255]]], np.uint8)
    scores = HeldOutScores(channels)
    scores.add("a", maps, truth, truth, np.array([0, 1, 2]))
    by_class = scores.class_scores()
    assert list(by_class) == ["background", "round", "long"]
    assert by_class["round"]["recall"] == 0.5 and by_class["long"]["precision"] == 0.5
    assert scores.scores()["recall"] == pytest.approx(0.75)


def test_a_bootstrap_draws_images_and_its_interval_holds_the_score():
    truth = np.zeros((4, 8), np.int32)
    truth[:2, :4] = 1
    scores = HeldOutScores(["nucleus"])
    for k in range(20):  # half of the images are right, half find nothing
        scores.add(str(k), np.zeros((1, 4, 8), np.uint8), truth * (k % 2), truth, np.array([0, 1]))
    samples = scores.bootstrap()
    low, high = interval(samples["mAP"])
    assert low < 0.4 and high > 0.6 and low < scores.scores()["mAP"] < high
    assert samples["mAP"].std() == pytest.approx(np.sqrt(0.25 / 20), rel=0.15)  # of a binomial
    assert samples.equals(scores.bootstrap())
