"""Train the systems of a paper as its config says, and score each on the images it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nuclei.config import override_words
from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.ensemble.oof import OofFile, blend
from nuclei.errors import UserError
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.paths import FoldFolder, Paths, RunName
from nuclei.postprocess.pipeline import Step, postprocess
from nuclei.progress import track
from nuclei.reproduce.paper_scores import HeldOutScores
from nuclei.submission.csv_files import write_submission
from nuclei.training.run_folder import read_result, read_settings


@dataclass(frozen=True)
class PaperSystem:
    """One system of a paper: a network, or the average of others.

    Attributes:
        train: settings of ``./run.sh train``; empty for an average.
        average: names of the systems whose maps are averaged; empty for a network.
        postprocess: name of the post-processing of an average; None for that of its first network.
        theirs, test: the paper's figures, by column, and the one on the competition's test images, or None.
    """

    title: str
    train: Mapping[str, Any] = field(default_factory=dict)
    average: Sequence[str] = ()
    postprocess: str | None = None
    theirs: Mapping[str, float] | None = None
    test: float | None = None


@dataclass(frozen=True)
class Budget:
    """How long the systems are trained.

    Attributes:
        epochs, samples: number of epochs, unless a system sets its own, and crops in an epoch.
        val_crops: held-out crops on which the loss is measured.
        draws: number of learning rates to try, where the paper searched for one.
        common: settings of ``./run.sh train`` for all systems.
        shares: by system the share of the crops, where it is less than all; for slow networks.
    """

    folds: Sequence[int]
    epochs: int
    samples: int
    val_crops: int
    draws: int = 0
    common: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """A random search for the learning rate: the score that chooses, and the log-uniform range."""

    measure: str
    low: float
    high: float
    about: str


@dataclass(frozen=True)
class Paper:
    """A paper to reproduce.

    Attributes:
        title, about, protocol, notes: texts of the page.
        main, columns: the score that is compared in words, and those in the table.
        submissions: whether to write a submission of each system for the competition's test images.
        common: settings of ``./run.sh train`` for all systems.
        systems: in the paper's order.
        budgets: among them ``paper``, the paper's own schedule.
        below_otsu: why systems score below Otsu's threshold, if some do.
        learned: what the reproduction says about the paper: what held, what did not, and why.
        compare: pairs of systems whose difference is shown, the first less the second.
        examples: systems whose pictures are shown; none takes the best one.
    """

    name: str
    title: str
    about: str
    protocol: str
    notes: str
    main: str
    columns: Sequence[str]
    submissions: bool
    search: Search | None
    common: Mapping[str, Any]
    systems: Mapping[str, PaperSystem]
    budgets: Mapping[str, Budget]
    below_otsu: str = ""
    learned: str = ""
    compare: Sequence[tuple[str, str]] = ()
    examples: Sequence[str] = ()

    def budget(self, name: str) -> Budget:
        """Return a budget by its name; a UserError where the paper has none of that name."""
        if name not in self.budgets:
            raise UserError(f"budget={name}: expected {' or '.join(self.budgets)}")
        return self.budgets[name]

    def choose(self, names: Sequence[str] | None) -> list[str]:
        """Return the names of the chosen systems, or of all, in the paper's order; refuse unknown ones."""
        if unknown := set(names or []) - set(self.systems):
            raise UserError(f"only={min(unknown)}: paper={self.name} has {', '.join(self.systems)}")
        return [name for name in self.systems if not names or name in names]


def parse_paper(settings: Mapping[str, Any]) -> Paper:
    """Return the paper that a config of ``configs/paper``, resolved, describes."""
    keys = {field.name for field in fields(Budget)}  # a budget may hold numbers for the settings of systems
    parsed = {
        "search": Search(**settings["search"]) if settings["search"] else None,
        "systems": {name: PaperSystem(**system) for name, system in settings["systems"].items()},
        "budgets": {
            name: Budget(**{key: value for key, value in budget.items() if key in keys})
            for name, budget in settings["budgets"].items()
        },
    }
    return Paper(**{**settings, **parsed})


TRAINING_IMAGES = 40
"""Number of images for the accuracy on training images."""


@dataclass(frozen=True)
class Draw:
    """One learning rate of a random search, with its run and the run's score."""

    rate: float
    run: RunName
    score: float


@dataclass(frozen=True)
class Reproduction:
    """The systems of a paper, trained on one data set under one budget.

    Attributes:
        seed: seed of all trainings and of the search.
        train_command: called with overrides, runs ``./run.sh train`` on this data set.
        build_steps: builds the post-processing of that name, or that of a run, from the folder of a fold.
        load_network: loads the network of one fold, from the fold's folder and the network's weight.
    """

    paper: Paper
    budget_name: str
    seed: int
    paths: Paths
    store: Store
    train_command: Callable[..., None]
    build_steps: Callable[[FoldFolder, str | None], Sequence[Step]]
    load_network: Callable[[FoldFolder, float], WeightedNetwork]

    @property
    def budget(self) -> Budget:
        """The budget in use."""
        return self.paper.budget(self.budget_name)

    @cached_property
    def held_out(self) -> dict[int, list[str]]:
        """ImageIds of each fold that the budget trains; a UserError where the folds file lacks one."""
        rows = read_folds(self.paths.folds)
        images = {k: [row.image_id for row in rows if row.fold == k] for k in sorted(self.budget.folds)}
        if empty := [k for k, ids in images.items() if not ids]:
            raise UserError(
                f"{self.paths.folds} has no fold {empty[0]}, which paper={self.paper.name} trains"
            )
        return images

    def folders(self, runs: Sequence[RunName]) -> list[FoldFolder]:
        """Return the folders of all folds of runs."""
        return [self.paths.fold(run, fold) for run in runs for fold in self.budget.folds]

    def train(self, name: str, suffix: str = "", overrides: Mapping[str, Any] | None = None) -> RunName:
        """Train a system on the budget's folds; a finished run is not trained again.

        ``suffix`` is appended to the run's name, ``overrides`` to the settings of the config.
        """
        system, budget = self.paper.systems[name], self.budget
        share = budget.shares.get(name, 1.0)
        run_name = f"{self.paper.name}_{self.budget_name}_{name}{suffix}"
        settings = {"trainer.max_epochs": budget.epochs, **self.paper.common, **budget.common, **system.train}
        settings |= {**(overrides or {}), "name": run_name, "seed": self.seed, "trainer.limit_val_batches": 0}
        settings["samples_per_epoch"] = max(1, round(budget.samples * share))
        settings["val_crops"] = budget.val_crops
        for fold in budget.folds:
            self.train_command(*override_words(settings), f"fold={fold}")
        return RunName(system.train["model"], run_name)

    def train_otsu(self, postprocess_name: str) -> RunName:
        """Segment the held-out images by Otsu's threshold, without learning."""
        run = RunName("otsu", f"floor_{postprocess_name}")
        for fold in self.held_out:
            settings = [f"model={run.model}", f"name={run.name}", f"fold={fold}"]
            self.train_command(*settings, f"postprocess={postprocess_name}")
        return run

    def search(self, name: str) -> list[Draw]:
        """Train a system with each learning rate of a random search.

        The draws are log-uniform and the same for every system (Haigh et al. 2018, section III).
        """
        import optuna

        search = self.paper.search
        assert search is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.seed))
        space = optuna.distributions.FloatDistribution(search.low, search.high, log=True)
        draws = []
        for n in range(self.budget.draws):
            rate = float(study.ask({"lr": space}).params["lr"])
            run = self.train(name, f"_draw{n}", {"optimizer.lr": rate})
            draws.append(Draw(rate, run, self.scores([run]).scores()[search.measure]))
        return draws

    def train_all(self, names: Sequence[str]) -> tuple[dict[str, list[RunName]], dict[str, list[Draw]]]:
        """Train systems and the parts of averages; return the runs to average, and the draws of searches."""
        draws: dict[str, list[Draw]] = {}

        def runs_of(name: str) -> list[RunName]:
            if parts := self.paper.systems[name].average:
                return [run for part in parts for run in runs_of(part)]
            settings = self.paper.systems[name].train
            if self.paper.search is None or "optimizer.lr" in settings:
                return [self.train(name)]
            if name not in draws:
                draws[name] = self.search(name)
            return [max(draws[name], key=lambda draw: draw.score).run]

        return {name: runs_of(name) for name in names}, draws

    def maps(self, runs: Sequence[RunName]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each held-out image's ImageId and its maps, uint8 (C, H, W), averaged over runs."""
        for fold, ids in self.held_out.items():
            files = [OofFile(self.paths.fold(run, fold).maps) for run in runs]
            for image_id in ids:
                row = self.store.row(image_id)
                shape = (len(files[0].channels), row.height, row.width)
                maps = [file.maps(image_id, shape) for file in files]
                yield image_id, blend(maps, [1 / len(maps)] * len(maps))

    def steps(self, run: RunName, name: str | None = None) -> Sequence[Step]:
        """Build the post-processing that a run was trained with, or that of a name."""
        return self.build_steps(self.paths.fold(run, self.budget.folds[0]), name)

    def scores(self, runs: Sequence[RunName], postprocess_name: str | None = None) -> HeldOutScores:
        """Score the average of runs on the held-out images."""
        channels = OofFile(self.paths.fold(runs[0], min(self.held_out)).maps).channels
        scores = HeldOutScores(channels, membranes="V_rand" in self.paper.columns)
        steps = self.steps(runs[0], postprocess_name)
        for image_id, maps in self.maps(runs):
            labels = postprocess(maps, channels, steps)
            scores.add(image_id, maps, labels, self.store.labels(image_id), self.store.classes(image_id))
        return scores

    def training_accuracy(self, run: RunName) -> float:
        """Return the pixel accuracy of the first fold's network on images that it was trained on."""
        fold = self.budget.folds[0]
        ids = [row.image_id for row in read_folds(self.paths.folds) if row.fold != fold]
        network = self.load_network(self.paths.fold(run, fold), 1.0)
        segmenter = Segmenter([network], network.channels, self.steps(run))
        scores = HeldOutScores(network.channels)
        for image_id in ids[:: max(1, len(ids) // TRAINING_IMAGES)]:
            maps = segmenter.maps(self.store.image(image_id))
            truth, classes = self.store.labels(image_id), self.store.classes(image_id)
            scores.add(image_id, maps, segmenter.labels(maps), truth, classes)
        return scores.scores()["accuracy"]

    def trained_share(self, runs: Sequence[RunName]) -> float:
        """Return the number of crops that runs were trained on, as a share of the paper's own schedule."""
        crops = [read_settings(folder).crops for folder in self.folders(runs)]
        own = self.paper.budgets["paper"]
        return float(np.mean(crops)) / (own.epochs * own.samples)

    def seconds(self, runs: Sequence[RunName]) -> float:
        """Return the time that training and predicting took."""
        results = map(read_result, self.folders(runs))
        return sum(result.seconds for result in results if result is not None)

    def write_submission(self, path: Path, runs: Sequence[RunName], postprocess_name: str | None) -> None:
        """Write a submission for the competition's test images, by all folds of runs with equal weights."""
        folders = self.folders(runs)
        networks = [self.load_network(folder, 1 / len(folders)) for folder in folders]
        segmenter = Segmenter(networks, networks[0].channels, self.steps(runs[0], postprocess_name))
        ids = track(self.store.ids("test"), path.stem)
        write_submission(path, ((i, segmenter.labels(segmenter.maps(self.store.image(i)))) for i in ids))
