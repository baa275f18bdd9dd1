"""Train the systems of a paper as its config says, and score each on the images it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.ensemble.blend import blend
from nuclei.ensemble.oof_file import OofFile
from nuclei.errors import UserError
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.paths import run_folder
from nuclei.postprocess.pipeline import Step, postprocess
from nuclei.progress import track
from nuclei.reproduce.measures import HeldOutScores
from nuclei.reproduce.paper_config import Budget, Paper
from nuclei.submission.csv_files import write_submission
from nuclei.training.run_folder import finished, settings_of

TRAINING_IMAGES = 40
"""Number of images for the accuracy on training images."""


@dataclass(frozen=True)
class Run:
    """A training of one system: ``runs/<data>/<model>/<name>``."""

    model: str
    name: str


@dataclass(frozen=True)
class Draw:
    """One learning rate of a random search, with its run and the run's score."""

    rate: float
    run: Run
    score: float


@dataclass(frozen=True)
class Reproduction:
    """The systems of a paper, trained on one data set under one budget.

    Attributes:
        paper: the paper.
        budget_name: name of the budget.
        seed: seed of all trainings and of the search.
        data: name of the data set.
        folds_file: path of the folds file.
        runs: folder of all runs.
        store: images and label maps of the data set.
        train_command: called with overrides, runs ``./run.sh train`` on this data set.
        build_steps: builds the post-processing of a run, from the folder of one of its folds.
        load_network: loads the network of one fold, from the fold's folder and the network's weight.
    """

    paper: Paper
    budget_name: str
    seed: int
    data: str
    folds_file: str
    runs: Path
    store: Store
    train_command: Callable[..., None]
    build_steps: Callable[[Path], Sequence[Step]]
    load_network: Callable[[Path, float], WeightedNetwork]

    @property
    def budget(self) -> Budget:
        """The budget in use."""
        return self.paper.budget(self.budget_name)

    @cached_property
    def held_out(self) -> dict[int, list[str]]:
        """ImageIds of each fold that the budget trains.

        Raises:
            UserError: the folds file lacks a fold.
        """
        rows = read_folds(self.folds_file)
        images = {k: [r["ImageId"] for r in rows if r["fold"] == k] for k in sorted(self.budget.folds)}
        if empty := [k for k, ids in images.items() if not ids]:
            raise UserError(f"{self.folds_file} has no fold {empty[0]}, which paper={self.paper.name} trains")
        return images

    def folder(self, run: Run, fold: int) -> Path:
        """Return the folder of one fold of a run."""
        return run_folder(self.runs, self.data, run.model, run.name, fold)

    def folders(self, runs: Sequence[Run]) -> list[Path]:
        """Return the folders of all folds of runs."""
        return [self.folder(run, fold) for run in runs for fold in self.budget.folds]

    def train(self, name: str, suffix: str = "", overrides: Sequence[str] = ()) -> Run:
        """Train a system on the budget's folds; a finished run is not trained again.

        Args:
            name: name of the system in the paper's config.
            suffix: appended to the name of the run.
            overrides: settings beside those of the config.
        """
        system, budget = self.paper.systems[name], self.budget
        share = system.share if self.budget_name != "full" else 1.0
        run_name = f"{self.paper.name}_{self.budget_name}_{name}{suffix}"
        settings = [*self.paper.common, *budget.common, *system.train, *overrides]
        settings += [f"name={run_name}", f"seed={self.seed}", "trainer.limit_val_batches=0"]
        if not any(setting.startswith("trainer.max_epochs=") for setting in system.train):
            settings.append(f"trainer.max_epochs={budget.epochs}")
        settings.append(f"samples_per_epoch={max(1, round(budget.samples * share))}")
        settings.append(f"val_crops={budget.val_crops}")
        for fold in budget.folds:
            self.train_command(*settings, f"fold={fold}")
        model = next(s.partition("=")[2] for s in system.train if s.startswith("model="))
        return Run(model, run_name)

    def train_otsu(self, postprocess_name: str) -> Run:
        """Segment the held-out images by Otsu's threshold, without learning."""
        run = Run("otsu", f"floor_{postprocess_name}")
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
            run = self.train(name, f"_draw{n}", [f"optimizer.lr={rate!r}"])
            draws.append(Draw(rate, run, self.scores([run]).scores()[search.measure]))
        return draws

    def train_all(self, names: Sequence[str]) -> tuple[dict[str, list[Run]], dict[str, list[Draw]]]:
        """Train systems and the parts of averages.

        Args:
            names: names of the systems.

        Returns:
            For each system the runs whose maps are averaged, and for each network of a search its draws.
        """
        draws: dict[str, list[Draw]] = {}

        def runs_of(name: str) -> list[Run]:
            if parts := self.paper.systems[name].average:
                return [run for part in parts for run in runs_of(part)]
            if self.paper.search is None:
                return [self.train(name)]
            if name not in draws:
                draws[name] = self.search(name)
            return [max(draws[name], key=lambda draw: draw.score).run]

        return {name: runs_of(name) for name in names}, draws

    def maps(self, runs: Sequence[Run]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each held-out image's ImageId and its maps, uint8 (C, H, W), averaged over runs."""
        for fold, ids in self.held_out.items():
            files = [OofFile(self.folder(run, fold) / "oof.npz") for run in runs]
            for image_id in ids:
                row = self.store.row(image_id)
                shape = (len(files[0].channels), row["height"], row["width"])
                maps = [file.maps(image_id, shape) for file in files]
                yield image_id, blend(maps, [1 / len(maps)] * len(maps))

    def steps(self, run: Run) -> Sequence[Step]:
        """Build the post-processing that a run was trained with."""
        return self.build_steps(self.folder(run, self.budget.folds[0]))

    def scores(self, runs: Sequence[Run]) -> HeldOutScores:
        """Score the average of runs on the held-out images."""
        channels = OofFile(self.folder(runs[0], min(self.held_out)) / "oof.npz").channels
        scores = HeldOutScores(channels, membranes="V_rand" in self.paper.columns)
        steps = self.steps(runs[0])
        for image_id, maps in self.maps(runs):
            labels = postprocess(maps, channels, steps)
            scores.add(image_id, maps, labels, self.store.labels(image_id), self.store.classes(image_id))
        return scores

    def training_accuracy(self, run: Run) -> float:
        """Return the pixel accuracy of the first fold's network on images that it was trained on."""
        fold = self.budget.folds[0]
        ids = [row["ImageId"] for row in read_folds(self.folds_file) if row["fold"] != fold]
        network = self.load_network(self.folder(run, fold), 1.0)
        segmenter = Segmenter([network], network.channels, self.steps(run))
        scores = HeldOutScores(network.channels)
        for image_id in ids[:: max(1, len(ids) // TRAINING_IMAGES)]:
            maps = segmenter.maps(self.store.image(image_id))
            truth, classes = self.store.labels(image_id), self.store.classes(image_id)
            scores.add(image_id, maps, segmenter.labels(maps), truth, classes)
        return scores.scores()["accuracy"]

    def trained_share(self, runs: Sequence[Run]) -> float:
        """Return the number of crops that runs were trained on, as a share of the paper's own schedule."""
        settings = [settings_of(folder) for folder in self.folders(runs)]
        crops = [s["samples_per_epoch"] * s["trainer"]["max_epochs"] for s in settings]
        full = self.paper.budgets["full"]
        return float(np.mean(crops)) / (full.epochs * full.samples)

    def seconds(self, runs: Sequence[Run]) -> float:
        """Return the time that training and predicting took."""
        return sum((finished(folder) or {"seconds": 0})["seconds"] for folder in self.folders(runs))

    def write_submission(self, path: Path, runs: Sequence[Run]) -> None:
        """Write a submission for the competition's test images, by all folds of runs with equal weights."""
        folders = self.folders(runs)
        networks = [self.load_network(folder, 1 / len(folders)) for folder in folders]
        segmenter = Segmenter(networks, networks[0].channels, self.steps(runs[0]))
        ids = track(self.store.ids("test"), path.stem)
        write_submission(path, ((i, segmenter.labels(segmenter.maps(self.store.image(i)))) for i in ids))
