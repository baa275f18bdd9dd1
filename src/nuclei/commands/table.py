"""``./run.sh table``: train a report's systems, and write its table with our figures beside theirs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from nuclei.commands._segmenter import voter_of
from nuclei.commands._steps import ensure_data, step
from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.ensemble.archive import OofFile
from nuclei.ensemble.blend import blend
from nuclei.errors import UserError
from nuclei.files import whole
from nuclei.inference.segment import Segmenter
from nuclei.papers import figures, page
from nuclei.papers.tally import Tally, class_map
from nuclei.paths import run_folder
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track
from nuclei.submission.encode import write_submission
from nuclei.submission.record import code_state
from nuclei.training.run import finished, settings_of

ROOT = Path(__file__).resolve().parents[3]
# No learning, on the same images: what any system must beat.
FLOOR = {
    "components": "Otsu, connected components (0.255 on the 65 test images)",
    "distance": "Otsu, watershed (about 0.31 on the 65 test images)",
}


@dataclass(frozen=True)
class Run:
    """A training of one system: ``runs/<data>/<model>/<name>``."""

    model: str
    name: str


def main(cfg: DictConfig) -> None:
    """Train what is missing, score, write the page, its figures and the submissions."""
    if cfg.budget not in cfg.paper.budgets:
        raise UserError(f"budget={cfg.budget}: expected {' or '.join(cfg.paper.budgets)}")
    ensure_data(cfg)
    store, images = Store(cfg.data.store), held_out(cfg)
    draws = {slug: searched(cfg, slug, store, images) for slug in trained(cfg)} if cfg.paper.search else {}
    runs = {slug: runs_of(cfg, slug, draws) for slug in chosen(cfg)}
    tallies = {slug: tally(cfg, runs[slug], store, images) for slug in track(list(runs), "score")}
    systems = {slug: system(cfg, slug, runs[slug], tallies[slug], store) for slug in runs}
    floor = [floor_of(cfg, name, store, images) for name in FLOOR]
    folder = Path(cfg.docs)
    logs = {systems[slug].title: systems[slug].log for slug in trained(cfg)}
    figures.curves(folder / f"{cfg.paper.name}_curves.png", {t: log for t, log in logs.items() if log})
    best = max(systems, key=lambda slug: systems[slug].ours[cfg.paper.main])
    draw_examples(cfg, folder / f"{cfg.paper.name}_examples.jpg", runs[best], tallies[best], store)
    written = folder / f"{cfg.paper.name}.md"
    with whole(written) as part:
        part.write_text("\n".join(text(cfg, systems, floor, draws, systems[best].title)) + "\n")
    print(f"wrote {written}; {len(systems)} systems, the best of them {systems[best].title}")


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
    cfg: DictConfig, slug: str, store: Store, images: dict[int, list[str]]
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
        run = train(cfg, slug, f"_draw{n}", [f"optimizer.lr={lr!r}"])
        found[lr] = (run, tally(cfg, [run], store, images).scores()[asked.measure])
    return found


def runs_of(cfg: DictConfig, slug: str, draws: dict[str, dict[float, tuple[Run, float]]]) -> list[Run]:
    """The trainings whose maps a system averages: its own one, the best of its search, or those of others."""
    if "average" in cfg.paper.systems[slug]:
        return [run for part in cfg.paper.systems[slug].average for run in runs_of(cfg, part, draws)]
    if slug in draws:
        return [max(draws[slug].values(), key=lambda found: found[1])[0]]
    return [train(cfg, slug)]


def train(cfg: DictConfig, slug: str, suffix: str = "", own: Sequence[str] = ()) -> Run:
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
        step("train", cfg, *words, f"fold={fold}", "trainer.limit_val_batches=0")
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
            yield image_id, maps[0] if len(maps) == 1 else mean(maps)


def mean(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The unweighted mean of ``uint8`` maps."""
    return np.rint(blend(np.stack(maps), [1 / len(maps)] * len(maps)) * 255).astype(np.uint8)


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


def system(cfg: DictConfig, slug: str, runs: Sequence[Run], tallied: Tally, store: Store) -> page.System:
    """Everything that the page says of one system."""
    asked, budget, full = cfg.paper.systems[slug], cfg.paper.budgets[cfg.budget], cfg.paper.budgets.full
    folders = [folder_of(cfg, run, int(fold)) for run in runs for fold in budget.folds]
    done = [finished(folder) or {} for folder in folders]
    seen = [settings_of(f)["samples_per_epoch"] * settings_of(f)["trainer"]["max_epochs"] for f in folders]
    ours = tallied.scores()
    if "training accuracy" in cfg.paper.columns:
        ours["training accuracy"] = on_training_images(cfg, runs[0], store)
    return page.System(
        title=asked.title,
        theirs=asked.get("theirs", {}),
        test=asked.get("test"),
        ours=ours,
        images=len(tallied.precision),
        share=float(np.mean(seen)) / (full.epochs * full.samples),
        seconds=sum(d["seconds"] for d in done),
        submission=submitted(cfg, slug, runs, store) if cfg.paper.submissions else None,
        by_class=tallied.by_class(),
        log=folders[0] / "metrics.csv" if "train" in asked else None,
    )


def segmenter(cfg: DictConfig, runs: Sequence[Run]) -> Segmenter:
    """The networks of all folds of the runs, averaged without weights."""
    folds = [int(fold) for fold in cfg.paper.budgets[cfg.budget].folds]
    weight = 1 / len(runs) / len(folds)
    voters = [voter_of(folder_of(cfg, run, fold), weight, None) for run in runs for fold in folds]
    return Segmenter(voters, voters[0].channels, steps_of(cfg, runs[0]))


def on_training_images(cfg: DictConfig, run: Run, store: Store, most: int = 40) -> float:
    """Accuracy of pixels on images that the first fold's network was trained on."""
    fold = int(cfg.paper.budgets[cfg.budget].folds[0])
    rows = [row for row in read_folds(cfg.data.folds) if row["fold"] != fold]
    voter = voter_of(folder_of(cfg, run, fold), 1.0, None)
    own = Segmenter([voter], voter.channels, steps_of(cfg, run))
    counted = Tally(own.channels)
    for row in rows[:: max(1, len(rows) // most)]:
        image_id = row["ImageId"]
        maps = own.maps(store.image(image_id))
        counted.add(image_id, maps, own.labels(maps), store.labels(image_id), store.classes(image_id))
    return counted.scores()["accuracy"]


def submitted(cfg: DictConfig, slug: str, runs: Sequence[Run], store: Store) -> str:
    """Write the submission of a system for the competition's test images; the path."""
    path = Path(cfg.paths.submissions) / "papers" / f"{cfg.paper.name}_{slug}.csv"
    own, ids = segmenter(cfg, runs), store.ids("test")
    write_submission(
        path, ((i, own.labels(own.maps(store.image(i)))) for i in track(ids, f"submission {slug}", len(ids)))
    )
    return path.as_posix()


def floor_of(
    cfg: DictConfig, postprocess_name: str, store: Store, images: dict[int, list[str]]
) -> page.System:
    """Otsu's threshold on the same images."""
    for fold in images:
        step("train", cfg, "model=otsu", f"name=floor_{postprocess_name}", f"fold={fold}",
             f"postprocess={postprocess_name}")  # fmt: skip
    counted = tally(cfg, [Run("otsu", f"floor_{postprocess_name}")], store, images)
    return page.System(FLOOR[postprocess_name], {}, None, counted.scores(), len(counted.precision))


def draw_examples(cfg: DictConfig, path: Path, runs: Sequence[Run], tallied: Tally, store: Store) -> None:
    """Two held-out images: at the 80th percentile of the score, and at the 20th."""
    order = sorted(tallied.precision, key=lambda i: (float(tallied.precision[i].mean()), i))
    chosen = [order[round(0.8 * (len(order) - 1))], order[round(0.2 * (len(order) - 1))]]
    of_classes, steps, found = len(tallied.classes) > 2, steps_of(cfg, runs[0]), {}
    for image_id, maps in maps_of(cfg, runs, store, held_out(cfg)):
        if image_id in chosen:
            truth = store.labels(image_id)
            pair = (truth, postprocess(maps, tallied.channels, steps))
            if of_classes:
                pair = (store.classes(image_id)[truth], class_map(maps, tallied.channels))
            found[image_id] = (store.image(image_id), *pair)
    figures.examples(path, [found[i] for i in chosen], tallied.classes if of_classes else [])


def text(
    cfg: DictConfig,
    systems: dict[str, page.System],
    floor: Sequence[page.System],
    draws: dict[str, dict[float, tuple[Run, float]]],
    best: str,
) -> list[str]:
    """The whole page."""
    paper, rows = cfg.paper, list(systems.values())
    commit, dirty = code_state(ROOT)
    total = sum(s.seconds for s in rows if s.log) / 60
    lines = [
        f"# {paper.title}",
        "",
        paper.about.strip(),
        "",
        "```",
        f"./run.sh {' '.join(sys.argv[1:])}",
        "```",
        "",
    ]
    lines += [
        f"Commit `{commit[:7]}`{' with changes' if dirty == 'yes' else ''}, seed {cfg.seed}, budget "
        f"`{cfg.budget}`: {total:.0f} minutes of training and predicting, on {hardware()}. "
        f"Ours are held-out figures: fold {', '.join(map(str, held_out(cfg)))} of `{cfg.data.folds}`, "
        f"{rows[0].images} images that the networks did not see. {paper.protocol.strip()}",
        "",
        *page.table(list(paper.columns), [*rows, *floor]),
        "",
        *page.differences(paper.main, rows),
        *page.classes(rows),
    ]
    if draws:
        asked = paper.search
        by_title = {systems[s].title: {lr: f[1] for lr, f in found.items()} for s, found in draws.items()}
        lines += ["", "## The search", "", asked.about.strip(), "", *page.search(by_title, asked.measure)]
    lines += ["", "## How the report was read", "", paper.notes.strip(), ""]
    lines += ["## Loss", "", f"![Loss by epoch]({paper.name}_curves.png)", "", "## Examples", ""]
    lines += [f"By {best}; a held-out image that went well, and one that went badly.", ""]
    return [*lines, f"![Image, truth and prediction]({paper.name}_examples.jpg)"]


def hardware() -> str:
    """The processor, or the GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return (
        f"{torch.get_num_threads()} of {os.cpu_count()} cores of {names[0] if names else platform.machine()}"
    )
