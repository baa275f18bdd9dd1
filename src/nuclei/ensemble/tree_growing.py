"""Grow the trees of the second stage on out-of-fold maps, and score them honestly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import cv2
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from nuclei.ensemble.blend import blend
from nuclei.ensemble.evaluate import Case, Evaluator, Setting
from nuclei.ensemble.tune import Tuned
from nuclei.labelmap.overlap import best_ious, pair_runs
from nuclei.metrics import THRESHOLDS
from nuclei.postprocess.pipeline import by_name, with_parameters
from nuclei.postprocess.second_stage.boosted_trees import Trees
from nuclei.postprocess.second_stage.candidate_features import described, features
from nuclei.postprocess.second_stage.selection import Selection
from nuclei.postprocess.watershed import MapWatershed
from nuclei.progress import track

Example = tuple[np.ndarray, np.ndarray]


def second_stage(full: Evaluator, folds: Sequence[int], tuned: Tuned, seed: int) -> tuple[Selection, Tuned]:
    """Grow trees for the setting that all folds chose, and for each that the others chose without one.

    The score of a fold is honest: neither the setting nor the trees have seen an image of it. (As ever in
    stacking, the networks that made the maps of the other folds have.)

    Args:
        full: has the images, and the steps that were tuned; the first is a ``MapWatershed``.
        folds: fold of each image.
        tuned: what was chosen for these steps.
        seed: of the trees.

    Returns:
        The step that takes the place of all the others, and its ``nested`` and ``on_all`` scores.
    """
    fold, everything = np.array(folds), np.arange(len(folds))
    nested = np.empty((len(folds), 10))
    for k, setting in track(sorted(tuned.by_fold.items()), "second stage, folds"):
        step, held_out = grown(full, setting, everything[fold != k], seed), everything[fold == k]
        nested[held_out] = scored(full, setting, step, held_out)
    step = grown(full, tuned.setting, everything, seed)
    on_all = scored(full, tuned.setting, step, everything)
    return step, replace(tuned, nested=nested, on_all=on_all)


def scored(full: Evaluator, setting: Setting, step: Selection, images: Iterable[int]) -> np.ndarray:
    """Precision of some images with that step, float64 (images, 10)."""
    chosen = Evaluator(full.cases, full.channels, [step], full.workers)
    return chosen.precision(Setting(setting.weights), images)


def grown(full: Evaluator, setting: Setting, images: Iterable[int], seed: int) -> Selection:
    """The step for one setting, its trees grown on some of the images."""
    plain = plain_selection(with_parameters(full.steps, dict(setting.parameters))[0])
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(full.workers) as pool:
        found = pool.map(lambda i: examples(plain, full.cases[i], setting.weights, full.channels), images)
        rows, target = (np.concatenate(part) for part in zip(*found, strict=True))
    if not len(rows):
        return plain
    names = described(by_name(np.zeros((len(full.channels), 1, 1), np.uint8), full.channels))
    return replace(plain, maps=" ".join(names), trees=grow(rows, target, seed).pack())


def plain_selection(step: MapWatershed) -> Selection:
    """The same watershed as the start of a selection, without trees."""
    return Selection(**{f.name: getattr(step, f.name) for f in fields(MapWatershed)})


def examples(plain: Selection, case: Case, weights: Sequence[float], channels: Sequence[str]) -> Example:
    """Each candidate of an image, float32 (n, F), and the share of thresholds that its IoU exceeds, (n,)."""
    maps = by_name(blend(case.maps, weights), channels)
    found = plain.candidates(maps)
    ious = [best_ious(*pair_runs(case.truth.ravel(), labels.ravel()))[1][1:] for labels in found]
    above = np.concatenate(ious)[:, None] > np.array(THRESHOLDS) / 20
    return np.concatenate(features(found, maps)), above.mean(axis=1)


def grow(rows: np.ndarray, target: np.ndarray, seed: int) -> Trees:
    """Boosted trees of the mean of ``target`` (n,) given ``rows`` (n, F), by scikit-learn."""
    model = HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.08, min_samples_leaf=40, random_state=seed
    ).fit(rows, target)
    trees = [tree.nodes for (tree,) in model._predictors]
    first = np.cumsum([0, *map(len, trees)])[:-1]
    nodes = np.concatenate(trees)
    leaf, start = nodes["is_leaf"].astype(bool), np.repeat(first, [len(tree) for tree in trees])
    # Rows are float32: rounded down, a threshold still parts the same ones.
    threshold = nodes["num_threshold"].astype(np.float32)
    threshold = np.where(threshold > nodes["num_threshold"], np.nextafter(threshold, -np.inf), threshold)
    return Trees(
        base=float(np.ravel(model._baseline_prediction)[0]),
        features=rows.shape[1],
        roots=first.astype(np.int32),
        feature=np.where(leaf, -1, nodes["feature_idx"]).astype(np.int16),
        value=np.where(leaf, nodes["value"], threshold).astype(np.float32),
        left=(nodes["left"] + start).astype(np.int32),
        right=(nodes["right"] + start).astype(np.int32),
    )
