"""``./run.sh bench``: the core's parts against what others use for them, in turn, and the ratio."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra import compose
from omegaconf import DictConfig

from nuclei.build import build_paths, build_steps
from nuclei.call import Call
from nuclei.commands._steps import ensure_data
from nuclei.data.folds import FoldRow, read_folds
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS
from nuclei.ensemble.evaluate import Case, Setting
from nuclei.ensemble.search_space import Space, tunable
from nuclei.ensemble.tree_growing import plain_selection
from nuclei.ensemble.tune import Effort
from nuclei.errors import UserError
from nuclei.paths import ROOT
from nuclei.postprocess.pipeline import postprocess

PARTS = ("metric", "encoding", "csv", "postprocess", "second_stage", "search")


def main(cfg: DictConfig, call: Call) -> None:
    """Measure what is asked for and print the table, a line as soon as it is known."""
    if wrong := [part for part in cfg.parts if part not in PARTS]:
        raise UserError(f"no part {wrong[0]}; they are {', '.join(PARTS)}")
    load_peers()
    from bench.core import HEAD

    cv2.setNumThreads(1)
    ensure_data(cfg, call)
    lines = measured(cfg)
    print(next(lines))
    print(HEAD)
    for line in lines:
        print(line, flush=True)


def load_peers() -> None:
    """Make ``bench/`` importable, or say what it takes."""
    sys.path.insert(0, str(ROOT))
    try:
        import bench.peers  # noqa: F401
    except ModuleNotFoundError as e:
        raise UserError(
            f"the package {e.name} is missing, of those that bench compares with; "
            f"{sys.executable} -m pip install -r {ROOT / 'requirements-bench.txt'}"
        ) from e


def measured(cfg: DictConfig) -> Iterator[str]:
    """Yield what is measured on, the rows of the table, and notes."""
    from bench import core, inputs

    store, rows = Store(cfg.data.store), read_folds(cfg.data.folds)
    members = inputs.members_of(build_paths(cfg).data_runs, rows, Path(cfg.data.folds))
    chosen = inputs.sample(rows, cfg.images, cfg.seed)
    ids = [rows[i].image_id for i in chosen]
    truth = [store.labels(i) for i in ids]
    stacks, origin = inputs.maps_of(members, 1, store, ids, truth)
    maps = [stack[0] for stack in stacks]
    nuclei = sum(int(labels.max()) for labels in truth)
    yield f"{len(ids)} images of {cfg.data.name} with {nuclei:,} nuclei; maps: {origin}"
    steps = {name: steps_of(cfg, name) for name in ("watershed", "distance")}
    predicted = [postprocess(image, CHANNELS, steps["watershed"]) for image in maps]
    table = {
        "metric": lambda: core.metric(truth, predicted, cfg.repeats),
        "encoding": lambda: core.encoding(truth, cfg.repeats),
        "csv": lambda: core.tables(truth, cfg.rows, cfg.repeats),
        "postprocess": lambda: core.segmenting(maps, CHANNELS, steps, cfg.repeats),
        "second_stage": lambda: core.describing(
            maps, CHANNELS, plain_selection(steps["watershed"][0]), cfg.repeats
        ),
    }
    for part in cfg.parts:
        if part in table:
            yield from map(str, table[part]())
    if {"postprocess", "search"} & set(cfg.parts):
        yield from on_all_images(cfg, store, rows, chosen, steps)


def steps_of(cfg: DictConfig, postprocess: str) -> list[Any]:
    """Build a post-processing with the values of its config."""
    config = compose("ensemble", overrides=[f"data={cfg.data.name}", f"postprocess={postprocess}"])
    return build_steps(config.postprocess.steps)


def on_all_images(
    cfg: DictConfig,
    store: Store,
    rows: Sequence[FoldRow],
    chosen: list[int],
    steps: dict[str, list[Any]],
) -> Iterator[str]:
    """Search with all images, and score each post-processing on the first member's maps of them."""
    from bench import core, inputs

    count = cfg.members if "search" in cfg.parts else 1
    members = inputs.members_of(build_paths(cfg).data_runs, rows, Path(cfg.data.folds))
    ids = [row.image_id for row in rows]
    truth = [store.labels(i).astype(np.uint16) for i in ids]
    stacks, origin = inputs.maps_of(members, count, store, ids, truth)
    notes = []
    if "search" in cfg.parts:
        config = compose("ensemble", overrides=[f"data={cfg.data.name}"])
        ranges, parameters = tunable(config.space, steps["watershed"])
        ranges.pop("low")  # six are searched
        default = Setting((1 / count,) * count, tuple((n, v) for n, v in parameters if n in ranges))
        setup = {
            "steps": steps["watershed"],
            "channels": CHANNELS,
            "strata": [(row.fold, row.modality) for row in rows],
            "sample": chosen,
            "images": config.images,
            "crop": config.crop,
            "effort": Effort(cfg.trials - config.refine, config.refine, config.finalists, config.seed),
            "workers": cfg.workers,
        }
        cases = [Case(*case) for case in zip(stacks, truth, strict=True)]
        row, note = core.search(cases, [r.fold for r in rows], Space(ranges, default), setup, cfg.searches)
        yield str(row)
        notes += [note, f"members: {origin}"]
    if "postprocess" in cfg.parts:
        first = [stack[0] for stack in stacks]
        scores = core.quality(first, truth, CHANNELS, steps)
        notes.append(f"post-processing, mAP on all {len(ids)} images: {scores}")
    yield "\n" + "\n".join(notes)
