"""Choose weights and post-processing on out-of-fold maps, and score the choice by nested cross-validation.

The search has three rounds:

1. A fixed Sobol sequence of settings is scored on the middles of a sample of images.
2. For each selection (all folds but k, for every k; and all folds) Optuna's TPE continues round 1, given
   only the scores of the selection's images.
3. The best settings of each selection are scored on all its images at full size, and the best one is chosen.

The nested score is the score of fold k's images under the setting chosen on the other folds, for every k.
It is unbiased, since no image of fold k has had an influence on that setting: the sequence of round 1 depends
on no score, and rounds 2 and 3 are repeated for each selection. A single search on all images with only its
last step nested would be faster, but its candidates would already be adapted to fold k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from scipy.stats import qmc

from nuclei.data.folds import FoldRow
from nuclei.ensemble.ensemble_file import EnsembleFile, Score, WeightedRun
from nuclei.ensemble.oof import Evaluator, Setting
from nuclei.paths import RunName
from nuclei.postprocess.pipeline import Step, as_config, fields
from nuclei.progress import track


@dataclass(frozen=True)
class Range:
    """The values that a post-processing parameter may take: from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def at(self, u: float) -> float:
        """Map 0..1 to the range; floats are rounded to three decimals.

        >>> Range(1, 100, log=True, integer=True).at(0.5)
        10
        """
        value = self.low * (self.high / self.low) ** u if self.log else self.low + u * (self.high - self.low)
        return round(value) if self.integer else round(value, 3)

    def where(self, value: float) -> float:
        """Undo ``at``; values outside the range go to its nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low, self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Space:
    """All settings that are searched, as the points of a unit cube.

    The default is the first setting that is tried, and wins ties; its weights stay unless they are free.
    """

    ranges: Mapping[str, Range]
    default: Setting
    free_weights: bool = True

    @property
    def dimensions(self) -> int:
        """Number of coordinates: one less than there are weights, and one for each parameter."""
        return len(self.ranges) + (len(self.default.weights) - 1 if self.free_weights else 0)

    def setting(self, point: Sequence[float]) -> Setting:
        """Decode a point of the cube."""
        n = len(self.ranges)
        values = tuple((name, r.at(u)) for (name, r), u in zip(self.ranges.items(), point[:n], strict=True))
        return Setting(on_simplex(point[n:]) if self.free_weights else self.default.weights, values)

    def point(self, setting: Setting) -> list[float]:
        """Encode a setting; for the default, the nearest point there is."""
        values = dict(setting.parameters)
        weights = in_cube(setting.weights) if self.free_weights else []
        return [r.where(values[name]) for name, r in self.ranges.items()] + weights


def on_simplex(cube: Sequence[float]) -> tuple[float, ...]:
    """Turn n-1 numbers in 0..1 into n weights: uniform numbers give weights uniform on the simplex.

    Stick-breaking: each weight takes its share of what is left, rounded to three decimals.

    >>> on_simplex([0.25]), on_simplex([])
    ((0.25, 0.75), (1.0,))
    """
    weights: list[float] = []
    for n, u in enumerate(cube):
        share = 1 - (1 - u) ** (1 / (len(cube) - n))
        weights.append(round(share * (1 - sum(weights)), 3))
    return (*weights, round(1.0 - sum(weights), 3))


def in_cube(weights: Sequence[float]) -> list[float]:
    """Undo ``on_simplex`` (up to its rounding)."""
    cube, left = [], 1.0
    for n, weight in enumerate(weights[:-1]):
        share = min(max(weight / left, 0.0), 1.0) if left > 1e-9 else 0.0
        cube.append(1 - (1 - share) ** (len(weights) - 1 - n))
        left -= weight
    return cube


def candidates(space: Space, trials: int, seed: int) -> list[list[float]]:
    """Return the points of round 1: the default's, then a scrambled Sobol sequence."""
    points = [space.point(space.default)]
    if space.dimensions and trials > 1:
        sobol = qmc.Sobol(space.dimensions, scramble=True, rng=seed)
        points += sobol.random_base2((trials - 1).bit_length())[: trials - 1].tolist()
    return points


def tunable(
    ranges: Mapping[str, Mapping[str, Any]], steps: Sequence[Step]
) -> tuple[dict[str, Range], tuple[tuple[str, float], ...]]:
    """Return the ranges of the parameters that the steps have, and the steps' values of these."""
    values = {name: getattr(step, name) for step in steps for name in fields(step)}
    known = {str(name): Range(**limits) for name, limits in ranges.items() if name in values}
    return known, tuple((name, values[name]) for name in known)


@dataclass(frozen=True)
class Images:
    """The images that settings are scored on.

    Attributes:
        full: scores whole images, for round 3.
        quick: scores the same images or their middles, for rounds 1 and 2.
        sample: indices of the images that ``quick`` scores.
        folds: fold of each image.
        left_out: the fold of no image in ``sample`` and ``rest``; -1 where none is left out.
    """

    full: Evaluator
    quick: Evaluator
    sample: Sequence[int]
    folds: Sequence[int]
    left_out: int = -1

    def without(self, fold: int) -> Images:
        """Return these images without a fold, or all for -1; the evaluators stay, since they keep scores."""
        return replace(self, sample=[i for i in self.sample if self.folds[i] != fold], left_out=fold)

    @property
    def rest(self) -> list[int]:
        """Indices of all images but those of the fold that is left out."""
        return [i for i, fold in enumerate(self.folds) if fold != self.left_out]


@dataclass(frozen=True)
class Effort:
    """The number of settings that are tried.

    Attributes:
        trials: settings of round 1, the default among them.
        refine: settings of round 2, for each selection.
        finalists: settings of round 3, for each selection; the default comes on top.
        seed: of the Sobol sequence and of TPE.
    """

    trials: int
    refine: int
    finalists: int
    seed: int

    def half(self) -> Effort:
        """Return half the effort, for a search that is there for comparison."""
        trials, refine, finalists = (max(1, n // 2) for n in (self.trials, self.refine, self.finalists))
        return Effort(trials, refine, finalists, self.seed)


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        setting: the one chosen on all folds.
        nested: float64 (images, 10), the precision of each image under the setting of the other folds.
        on_all: the precision of each image under ``setting``; too high, since it was chosen on these images.
        default: the precision of each image under the space's default.
        by_fold: the settings behind ``nested``.
    """

    setting: Setting
    nested: np.ndarray
    on_all: np.ndarray
    default: np.ndarray
    by_fold: dict[int, Setting]

    def scores(self, name: str) -> list[Score]:
        """Return the rows of the table of scores, the nested one first."""
        scores = {"nested": self.nested, "tuned on all": self.on_all, "default": self.default}
        return [Score(name, setting, precision) for setting, precision in scores.items()]


def tune(space: Space, images: Images, effort: Effort, name: str) -> Tuned:
    """Choose a setting, once on all images and once without each fold; the progress shows ``name``."""
    points = candidates(space, effort.trials, effort.seed)
    settings = [space.default] + [space.setting(point) for point in points[1:]]
    for setting in track(settings, f"tune {name}, trials"):
        images.quick.precision(setting, images.sample)
    chosen = {
        fold: select(space, images.without(fold), points, settings, effort)
        for fold in track([*sorted(set(images.folds)), -1], f"tune {name}, folds")
    }
    setting = chosen.pop(-1)
    all_images = range(len(images.folds))
    nested = np.empty((len(images.folds), 10))
    for fold, fold_setting in chosen.items():
        held_out = [i for i in all_images if images.folds[i] == fold]
        nested[held_out] = images.full.precision(fold_setting, held_out)
    on_all, default = (images.full.precision(s, all_images) for s in (setting, space.default))
    return Tuned(setting, nested, on_all, default, chosen)


def select(
    space: Space,
    images: Images,
    points: Sequence[Sequence[float]],
    settings: Sequence[Setting],
    effort: Effort,
) -> Setting:
    """Run rounds 2 and 3, given round 1; ties go to the earlier setting, so the default wins them."""
    scores = [images.quick.score(setting, images.sample) for setting in settings]
    proposed = refine(space, images, points, scores, effort)
    tried = [*settings, *proposed]
    scores += [images.quick.score(setting, images.sample) for setting in proposed]
    best = np.argsort([-score for score in scores], kind="stable")[: effort.finalists]
    finalists = [tried[i] for i in sorted({0, *best.tolist()})]
    return max(finalists, key=lambda setting: images.full.score(setting, images.rest))


def refine(
    space: Space, images: Images, points: Sequence[Sequence[float]], scores: Sequence[float], effort: Effort
) -> list[Setting]:
    """Return settings that TPE proposes, given the scores so far; each is scored before the next one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    cube: dict[str, optuna.distributions.BaseDistribution] = {
        str(d): optuna.distributions.FloatDistribution(0, 1) for d in range(space.dimensions)
    }
    sampler = optuna.samplers.TPESampler(n_startup_trials=0, seed=effort.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for point, score in zip(points, scores, strict=True):
        params = {name: point[d] for d, name in enumerate(cube)}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=cube, value=score))
    proposed = []
    for _ in range(effort.refine if cube else 0):
        trial = study.ask(cube)
        proposed.append(space.setting([trial.params[name] for name in cube]))
        study.tell(trial, images.quick.score(proposed[-1], images.sample))
    return proposed


def stratified(strata: Sequence[object], size: int, seed: int) -> list[int]:
    """Return indices of about ``size`` images, each stratum in proportion and with at least one.

    >>> stratified(["a", "a", "a", "a", "b", "b"], size=3, seed=0)
    [0, 2, 5]
    """
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for stratum in sorted(set(strata), key=str):
        members = [i for i, s in enumerate(strata) if s == stratum]
        share = min(len(members), max(1, round(len(members) * size / len(strata))))
        chosen += generator.permutation(members)[:share].tolist()
    return sorted(chosen)


def tune_members(
    names: Sequence[str],
    full: Evaluator,
    rows: Sequence[FoldRow],
    ranges: Mapping[str, Range],
    parameters: tuple[tuple[str, float], ...],
    effort: Effort,
    images: int,
    crop: int,
) -> tuple[Tuned, list[Score]]:
    """Tune an ensemble, then each member alone with half the effort; return the ensemble and all scores.

    Args:
        rows: the folds file, in the order of the images of ``full``.
        ranges, parameters: of the parameters that are searched, and their first values.
        images: size of the sample on which most settings are tried.
        crop: side in pixels of the middles that stand for the sample's larger images.
    """
    n = len(names)
    sample = stratified([(row.fold, row.modality) for row in rows], images, effort.seed)
    cases = [case.middle(crop) if i in set(sample) else case for i, case in enumerate(full.cases)]
    quick = Evaluator(cases, full.channels, full.steps, full.workers)
    choice = Images(full, quick, sample, [row.fold for row in rows])
    name = "ensemble" if n > 1 else names[0]
    tuned = tune(Space(ranges, Setting((1 / n,) * n, parameters)), choice, effort, name)
    scores = tuned.scores(name)
    for weights, member in zip(np.eye(n).tolist(), names if n > 1 else [], strict=False):
        alone = Space(ranges, Setting(tuple(weights), parameters), free_weights=False)
        scores += tune(alone, choice, effort.half(), member).scores(member)
    return tuned, scores


def ensemble_of(
    tuned: Tuned,
    data: str,
    folds: Sequence[int],
    folds_sha256: str,
    names: Sequence[str],
    channels: Sequence[str],
    steps: Sequence[Step],
) -> EnsembleFile:
    """Return the ensemble file of a result; ``folds`` has the fold of each image."""
    weights = [round(float(weight), 6) for weight in tuned.setting.weights]
    return EnsembleFile(
        data=data,
        folds_sha256=folds_sha256,
        n_folds=len(set(folds)),
        channels=tuple(channels),
        members=tuple(WeightedRun(RunName.parse(n), w) for n, w in zip(names, weights, strict=True)),
        steps=tuple(as_config(steps)),
        nested=round(float(tuned.nested.mean()), 4),
        tuned_on_all=round(float(tuned.on_all.mean()), 4),
    )
