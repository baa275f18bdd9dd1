"""The systems of a report: trained as its config says, with the maps and counts of their held-out images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from nuclei.call import Call
from nuclei.commands._steps import step
from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.ensemble.blend import blend
from nuclei.ensemble.oof_file import OofFile
from nuclei.errors import UserError
from nuclei.paths import run_folder
from nuclei.postprocess.pipeline import postprocess
from nuclei.reproduce.tally import Tally
from nuclei.training.run_folder import settings_of


@dataclass(frozen=True)
class Run:
    """A training of one system: ``runs/<data>/<model>/<name>``."""

    model: str
    name: str


def held_out(cfg: DictConfig) -> dict[int, list[str]]:
    """The images of each fold that the budget trains."""
    folds = {int(k) for k in cfg.paper.budgets[cfg.budget].folds}
    rows = read_folds(cfg.data.folds)
    found = {k: [r["ImageId"] for r in rows if r["fold"] == k] for k in sorted(folds)}
    if empty := [k for k, ids in found.items() if not ids]:
        raise UserError(f"{cfg.data.folds} has no fold {empty[0]}, which paper={cfg.paper.name} trains")
    return found


def chosen(cfg: DictConfig) -> list[str]:
    """The systems that are asked for, in the order of the report."""
    if unknown := set(cfg.only or []) - set(cfg.paper.systems):
        raise UserError(f"only={unknown.pop()}: paper={cfg.paper.name} has {', '.join(cfg.paper.systems)}")
    return [slug for slug in cfg.paper.systems if not cfg.only or slug in cfg.only]


def trained(cfg: DictConfig) -> list[str]:
    """The systems that are networks, not averages of others."""
    return [slug for slug in chosen(cfg) if "train" in cfg.paper.systems[slug]]


def searched(
    cfg: DictConfig, call: Call, slug: str, store: Store, images: dict[int, list[str]]
) -> dict[float, tuple[Run, float]]:
    """Train a system with each learning rate of a random search; its runs and scores by learning rate.

    The draws are log-uniform and the same for every system (Haigh et al. 2018, section III).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = cfg.paper.search
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=cfg.seed))
    space: dict[str, Any] = {"lr": optuna.distributions.FloatDistribution(asked.low, asked.high, log=True)}
    found = {}
    for n in range(cfg.paper.budgets[cfg.budget].draws):
        lr = float(study.ask(space).params["lr"])
        run = train(cfg, call, slug, f"_draw{n}", [f"optimizer.lr={lr!r}"])
        found[lr] = (run, tally(cfg, [run], store, images).scores()[asked.measure])
    return found


def runs_of(
    cfg: DictConfig, call: Call, slug: str, draws: dict[str, dict[float, tuple[Run, float]]]
) -> list[Run]:
    """The trainings whose maps a system averages: its own one, the best of its search, or those of others."""
    if "average" in cfg.paper.systems[slug]:
        return [run for part in cfg.paper.systems[slug].average for run in runs_of(cfg, call, part, draws)]
    if slug in draws:
        return [max(draws[slug].values(), key=lambda found: found[1])[0]]
    return [train(cfg, call, slug)]


def train(cfg: DictConfig, call: Call, slug: str, suffix: str = "", own: Sequence[str] = ()) -> Run:
    """Train a system on the budget's folds; a finished one is not trained again."""
    asked, budget = cfg.paper.systems[slug], cfg.paper.budgets[cfg.budget]
    name = f"{cfg.paper.name}_{cfg.budget}_{slug}{suffix}"
    share = asked.get("share", 1.0) if cfg.budget != "full" else 1.0
    words = [
        *cfg.paper.common,
        *budget.get("common", []),
        *asked.train,
        *own,
        f"name={name}",
        f"seed={cfg.seed}",
    ]
    if not any(w.startswith("trainer.max_epochs=") for w in asked.train):
        words.append(f"trainer.max_epochs={budget.epochs}")
    words += [f"samples_per_epoch={max(1, round(budget.samples * share))}", f"val_crops={budget.val_crops}"]
    model = next(w.partition("=")[2] for w in asked.train if w.startswith("model="))
    for fold in budget.folds:
        step("train", cfg, call, *words, f"fold={fold}", "trainer.limit_val_batches=0")
    return Run(model, name)


def folder_of(cfg: DictConfig, run: Run, fold: int) -> Path:
    """The run folder of one fold."""
    return run_folder(cfg.paths.runs, cfg.data.name, run.model, run.name, fold)


def maps_of(
    cfg: DictConfig, runs: Sequence[Run], store: Store, images: dict[int, list[str]]
) -> Iterator[tuple[str, np.ndarray]]:
    """The out-of-fold maps of each image, ``uint8 (C, H, W)``, averaged without weights over the runs."""
    for fold, ids in images.items():
        files = [OofFile(folder_of(cfg, run, fold) / "oof.npz") for run in runs]
        for image_id in ids:
            row = store.row(image_id)
            shape = (len(files[0].channels), row["height"], row["width"])
            maps = [file.maps(image_id, shape) for file in files]
            yield image_id, blend(maps, [1 / len(maps)] * len(maps))


def steps_of(cfg: DictConfig, run: Run) -> list[Any]:
    """The post-processing that the run was trained with."""
    settings = settings_of(folder_of(cfg, run, int(cfg.paper.budgets[cfg.budget].folds[0])))
    return [instantiate(s) for s in settings["postprocess"]["steps"]]


def tally(cfg: DictConfig, runs: Sequence[Run], store: Store, images: dict[int, list[str]]) -> Tally:
    """Count everything on the held-out images."""
    first = OofFile(folder_of(cfg, runs[0], min(images)) / "oof.npz")
    counted, steps = Tally(first.channels, "V_rand" in cfg.paper.columns), steps_of(cfg, runs[0])
    for image_id, maps in maps_of(cfg, runs, store, images):
        labels = postprocess(maps, counted.channels, steps)
        counted.add(image_id, maps, labels, store.labels(image_id), store.classes(image_id))
    return counted
