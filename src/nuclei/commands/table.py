"""``./run.sh table``: train a report's systems, and write its table with our figures beside theirs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from nuclei.atomic import atomic_write
from nuclei.call import Call
from nuclei.commands._segmenter import network_of
from nuclei.commands._steps import ensure_data, step
from nuclei.commands._systems import (
    Run,
    chosen,
    folder_of,
    held_out,
    maps_of,
    runs_of,
    searched,
    steps_of,
    tally,
    trained,
)
from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track
from nuclei.reproduce import figures
from nuclei.reproduce import paper_page as page
from nuclei.reproduce.tally import Tally, class_map
from nuclei.submission.csv_files import write_submission
from nuclei.submission.submission_record import code_state
from nuclei.training.run_folder import finished, settings_of

ROOT = Path(__file__).resolve().parents[3]
# No learning, on the same images: what any system must beat.
FLOOR = {"components": "Otsu, connected components", "distance": "Otsu, watershed"}
TEST = {"components": " (0.255 on the 65 test images)", "distance": " (about 0.31 on the 65 test images)"}


def main(cfg: DictConfig, call: Call) -> None:
    """Train what is missing, score, write the page, its figures and the submissions."""
    if cfg.budget not in cfg.paper.budgets:
        raise UserError(f"budget={cfg.budget}: expected {' or '.join(cfg.paper.budgets)}")
    ensure_data(cfg, call)
    store, images = Store(cfg.data.store), held_out(cfg)
    draws = (
        {slug: searched(cfg, call, slug, store, images) for slug in trained(cfg)} if cfg.paper.search else {}
    )
    runs = {slug: runs_of(cfg, call, slug, draws) for slug in chosen(cfg)}
    tallies = {slug: tally(cfg, runs[slug], store, images) for slug in track(list(runs), "score")}
    systems = {slug: system(cfg, slug, runs[slug], tallies[slug], store) for slug in runs}
    floor = [floor_of(cfg, call, name, store, images) for name in FLOOR]
    folder, (commit, dirty) = Path(cfg.docs), code_state(ROOT)
    logs = {systems[slug].title: systems[slug].log for slug in trained(cfg)}
    figures.curves(folder / f"{cfg.paper.name}_curves.png", {t: log for t, log in logs.items() if log})
    # Class maps show more than outlines.
    best = max(systems, key=lambda s: (len(tallies[s].classes), systems[s].ours[cfg.paper.main]))
    draw_examples(cfg, folder / f"{cfg.paper.name}_examples.jpg", runs[best], tallies[best], store)
    written, scores = folder / f"{cfg.paper.name}.md", {s: by_rate(found) for s, found in draws.items()}
    made = page.Made(
        command=call.text,
        commit=f"{commit[:7]} with changes" if dirty == "yes" else commit[:7],
        seed=cfg.seed,
        budget=cfg.budget,
        hardware=hardware(),
        folds=f"fold {', '.join(map(str, images))} of `{cfg.data.folds}`",
    )
    with atomic_write(written) as part:
        part.write_text(page.text(cfg.paper, made, systems, floor, scores, systems[best].title))
    print(f"wrote {written}; {len(systems)} systems, examples by {systems[best].title}")


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
    networks = [network_of(folder_of(cfg, run, fold), weight, None) for run in runs for fold in folds]
    return Segmenter(networks, networks[0].channels, steps_of(cfg, runs[0]))


def on_training_images(cfg: DictConfig, run: Run, store: Store, most: int = 40) -> float:
    """Accuracy of pixels on images that the first fold's network was trained on."""
    fold = int(cfg.paper.budgets[cfg.budget].folds[0])
    rows = [row for row in read_folds(cfg.data.folds) if row["fold"] != fold]
    member = network_of(folder_of(cfg, run, fold), 1.0, None)
    own = Segmenter([member], member.channels, steps_of(cfg, run))
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
    cfg: DictConfig, call: Call, postprocess_name: str, store: Store, images: dict[int, list[str]]
) -> page.System:
    """Otsu's threshold on the same images."""
    for fold in images:
        step("train", cfg, call, "model=otsu", f"name=floor_{postprocess_name}", f"fold={fold}",
             f"postprocess={postprocess_name}")  # fmt: skip
    counted = tally(cfg, [Run("otsu", f"floor_{postprocess_name}")], store, images)
    title = FLOOR[postprocess_name] + TEST[postprocess_name] * bool(cfg.paper.submissions)
    return page.System(title, {}, None, counted.scores(), len(counted.precision))


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


def by_rate(found: dict[float, tuple[Run, float]]) -> dict[float, float]:
    """A search's scores by learning rate."""
    return {rate: score for rate, (_, score) in found.items()}


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
