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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna

from nuclei.data.folds import FoldRow
from nuclei.ensemble.ensemble_file import EnsembleFile, Score, WeightedRun
from nuclei.ensemble.evaluate import Evaluator, Setting
from nuclei.ensemble.search_space import Range, Space, candidates
from nuclei.paths import RunName
from nuclei.postprocess.pipeline import Step, as_config
from nuclei.progress import track


@dataclass(frozen=True)
class Images:
    """The images that settings are scored on.

    Attributes:
        full: scores whole images, for round 3.
        quick: scores the same images or their middles, for rounds 1 and 2.
        sample: indices of the images that ``quick`` scores.
        folds: fold of each image.
    """

    full: Evaluator
    quick: Evaluator
    sample: Sequence[int]
    folds: Sequence[int]

    def without(self, fold: int) -> Images:
        """Return these images without a fold; -1 leaves out none.

        The evaluators stay, since they keep scores, but ``sample`` and ``rest`` contain no image of the fold.
        """
        return replace(self, sample=[i for i in self.sample if self.folds[i] != fold], left_out=fold)

    left_out: int = -1

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
        return [
            Score(name, "nested", self.nested),
            Score(name, "tuned on all", self.on_all),
            Score(name, "default", self.default),
        ]


def tune(space: Space, images: Images, effort: Effort, name: str) -> Tuned:
    """Choose a setting, once on all images and once without each fold.

    Args:
        space: the settings to search.
        images: the images to score on.
        effort: the number of settings to try.
        name: shown with the progress.
    """
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
    """Tune an ensemble, then each member alone with half the effort, for comparison.

    Args:
        names: of the members.
        full: scores whole images of the members' maps.
        rows: the folds file, in the order of the evaluator's images.
        ranges: of the parameters that are searched.
        parameters: their first values.
        effort: the number of settings to try.
        images: size of the sample on which most settings are tried.
        crop: side in pixels of the middles that stand for the sample's larger images.

    Returns:
        The tuned ensemble, and the scores of the ensemble and of each member.
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
    """Return the ensemble file of a result.

    Args:
        tuned: the result.
        data: name of the data set.
        folds: fold of each image.
        folds_sha256: hash of the folds file.
        names: of the members, ``MODEL/NAME``.
        channels: names of the maps that are averaged.
        steps: the post-processing.
    """
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
