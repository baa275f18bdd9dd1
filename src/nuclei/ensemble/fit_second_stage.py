"""Grow the trees of the second stage on out-of-fold maps, and score them on images they have not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import cv2
import numpy as np

from nuclei.ensemble.ensemble_file import Score
from nuclei.ensemble.oof import Case, Evaluator, Setting, blend
from nuclei.ensemble.tune import Tuned
from nuclei.labelmap.objects import best_ious, pair_runs
from nuclei.metrics import THRESHOLDS
from nuclei.postprocess.components import RemoveSmall
from nuclei.postprocess.pipeline import Step, by_name, with_parameters
from nuclei.postprocess.second_stage import Selection, candidate_features, feature_maps
from nuclei.postprocess.watershed import MapWatershed
from nuclei.progress import track

N_TREES = 150


def second_stage(full: Evaluator, folds: Sequence[int], tuned: Tuned, seed: int) -> tuple[Selection, Tuned]:
    """Grow trees for the setting that was chosen on all folds, and for each that was chosen without one fold.

    The nested score is honest: neither the setting nor the trees of a fold have seen its images. (As always
    in stacking, the networks that made the maps of the other folds have.) The first of the steps that were
    tuned must be a ``MapWatershed``.

    Returns:
        The step that replaces all the others, and its ``nested`` and ``on_all`` scores.
    """
    fold, all_images = np.array(folds), np.arange(len(folds))
    nested = np.empty((len(folds), 10))
    for k, setting in track(sorted(tuned.by_fold.items()), "second stage, folds"):
        step, held_out = fit_selection(full, setting, all_images[fold != k], seed), all_images[fold == k]
        nested[held_out] = precision(full, setting, step, held_out)
    step = fit_selection(full, tuned.setting, all_images, seed)
    on_all = precision(full, tuned.setting, step, all_images)
    return step, replace(tuned, nested=nested, on_all=on_all)


def precision(full: Evaluator, setting: Setting, step: Selection, images: Iterable[int]) -> np.ndarray:
    """Return the precision of some images under a selection, float64 (images, 10)."""
    selected = Evaluator(full.cases, full.channels, [step], full.workers)
    return selected.precision(Setting(setting.weights), images)


def fit_selection(full: Evaluator, setting: Setting, images: Iterable[int], seed: int) -> Selection:
    """Return the selection for one setting, its trees grown on some of the images."""
    plain = plain_selection(with_parameters(full.steps, dict(setting.parameters))[0])
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(full.workers) as pool:
        parts = pool.map(lambda i: examples(plain, full.cases[i], setting.weights, full.channels), images)
        rows, targets = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not len(rows):
        return plain
    maps = feature_maps(by_name(np.zeros((len(full.channels), 1, 1), np.uint8), full.channels))
    return replace(plain, maps=" ".join(maps), trees=grow_trees(rows, targets, seed))


def plain_selection(step: MapWatershed) -> Selection:
    """Return a selection without trees that has the parameters of a watershed."""
    return Selection(**{f.name: getattr(step, f.name) for f in fields(MapWatershed)})


def examples(
    plain: Selection, case: Case, weights: Sequence[float], channels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidates of an image as examples to learn from.

    Returns:
        float32 (n, F), the features of each candidate; float64 (n,), the share of the metric's thresholds
        that its IoU exceeds.
    """
    maps = by_name(blend(case.maps, weights), channels)
    candidates = plain.candidates(maps)
    ious = [best_ious(*pair_runs(case.truth.ravel(), labels.ravel()))[1][1:] for labels in candidates]
    exceeded = np.concatenate(ious)[:, None] > np.array(THRESHOLDS) / 20
    return np.concatenate(candidate_features(candidates, maps)), exceeded.mean(axis=1)


def grow_trees(rows: np.ndarray, targets: np.ndarray, seed: int) -> str:
    """Grow boosted trees with LightGBM; return its text model, the same for the same seed.

    The rows are float32 (n, F), finite; the targets float64 (n,), whose mean given the row the trees predict.
    """
    import lightgbm  # here, for its import takes seconds

    parameters = {
        "objective": "regression",
        "learning_rate": 0.08,
        "num_leaves": 31,
        "min_data_in_leaf": 40,
        "use_missing": False,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(rows, targets), N_TREES).model_to_string()


def choose_second_stage(
    full: Evaluator, folds: Sequence[int], tuned: Tuned, steps: Sequence[Step], seed: int
) -> tuple[list[Step], Tuned, list[Score]]:
    """Replace tuned steps by a second stage where its nested score is higher; see ``second_stage``.

    Returns:
        The steps and the result to use, and rows for the table of scores.
    """
    if [type(step) for step in steps] != [MapWatershed, RemoveSmall]:
        print("no second stage: it takes the place of MapWatershed and RemoveSmall, of these two alone")
        return list(steps), tuned, []
    step, second = second_stage(full, folds, tuned, seed)
    scores = second.scores("second stage")[:2]
    if second.nested.mean() > tuned.nested.mean():  # ties go to the simpler one
        return [step], second, scores
    return list(steps), tuned, scores
