"""Choose weights and post-processing on out-of-fold maps, and say honestly how good the choice is.

Three rounds, cheap and wide first:

1. A fixed Sobol sequence of settings, the same for everyone, is scored on the middles of a sample of images.
2. For each selection (all folds but k, for every k; and all folds) Optuna's TPE goes on from round 1, seeing
   only the scores of that selection's images.
3. The best few of each selection are scored on whole images, all of the selection's, and its best is chosen.

The nested score is that of fold k's images under the setting which the other folds chose, for every k. It is
honest because nothing that led to that setting has seen an image of fold k: the sequence of round 1 looks at
no score at all, and the rounds that do look are made anew for each selection. One search steered by all
images, with only its last step nested, would be quicker, but its candidates would already lean to fold k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna

from nuclei.ensemble.evaluate import Evaluator, Setting
from nuclei.ensemble.search_space import Space, candidates
from nuclei.progress import track


@dataclass(frozen=True)
class Images:
    """What to score on.

    Attributes:
        full: scores whole images, for round 3.
        quick: scores the same images or their middles, for rounds 1 and 2.
        sample: numbers of the images that ``quick`` is asked for.
        folds: fold of each image.
    """

    full: Evaluator
    quick: Evaluator
    sample: Sequence[int]
    folds: Sequence[int]

    def without(self, fold: int) -> Images:
        """Leave the images of a fold out of what may be looked at; -1 leaves out none.

        The evaluators stay, for they remember scores, but the sample and ``rest`` name no image of the fold.
        """
        return replace(self, sample=[i for i in self.sample if self.folds[i] != fold], left_out=fold)

    left_out: int = -1

    @property
    def rest(self) -> list[int]:
        """Numbers of all images that may be looked at."""
        return [i for i, fold in enumerate(self.folds) if fold != self.left_out]


@dataclass(frozen=True)
class Effort:
    """How long to search.

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
        """Search half as long."""
        trials, refined, finalists = (max(1, n // 2) for n in (self.trials, self.refine, self.finalists))
        return Effort(trials, refined, finalists, self.seed)


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Attributes:
        setting: chosen on all folds.
        nested: float64 (images, 10), the precision of each image under the setting of the other folds.
        on_all: the precision of each image under ``setting``: too high, for it was chosen on these images.
        default: the precision of each image under the space's default.
        by_fold: the settings behind ``nested``.
    """

    setting: Setting
    nested: np.ndarray
    on_all: np.ndarray
    default: np.ndarray
    by_fold: dict[int, Setting]


def tune(space: Space, images: Images, effort: Effort, name: str) -> Tuned:
    """Choose a setting, once on all images and once without each fold.

    Args:
        space: what to search.
        images: what to score on.
        effort: how long.
        name: what is tuned, for the progress.
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
    everything = range(len(images.folds))
    nested = np.empty((len(images.folds), 10))
    for fold, own in chosen.items():
        held_out = [i for i in everything if images.folds[i] == fold]
        nested[held_out] = images.full.precision(own, held_out)
    on_all, default = (images.full.precision(s, everything) for s in (setting, space.default))
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
    """Let TPE propose settings, given the scores so far; each is scored on the sample before the next."""
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
    """Choose about ``size`` images, each stratum in proportion and with at least one.

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
