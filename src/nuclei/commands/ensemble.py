"""``./run.sh ensemble``: weights and post-processing for a set of runs, tuned on their out-of-fold maps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from omegaconf import DictConfig

from nuclei.analysis.statistics import DIAMETERS, band, diameters, group_order
from nuclei.build import build_paths, build_steps
from nuclei.call import Call
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.blend import shared_channels
from nuclei.ensemble.ensemble_file import (
    EnsembleFile,
    Score,
    WeightedRun,
    score_table,
    write_ensemble,
    write_scores,
)
from nuclei.ensemble.evaluate import Case, Evaluator, Setting
from nuclei.ensemble.oof import Member, find_members
from nuclei.ensemble.search_space import Range, Space
from nuclei.ensemble.tree_growing import second_stage
from nuclei.ensemble.tune import Effort, Images, Tuned, stratified, tune
from nuclei.errors import UserError
from nuclei.paths import RunName
from nuclei.postprocess.pipeline import as_config, fields, with_parameters
from nuclei.postprocess.small_objects import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed
from nuclei.progress import track


def main(cfg: DictConfig, call: Call) -> None:
    """Choose the weights and the post-processing; write them with their honest score."""
    start = time.monotonic()
    cv2.setNumThreads(1)  # the evaluators' threads keep the cores busy
    store, rows, sha256 = Store(cfg.data.store), read_folds(cfg.data.folds), folds_sha256(cfg.data.folds)
    same_images(cfg, store, rows)
    names = [cfg.runs] if isinstance(cfg.runs, str) else cfg.runs
    paths = build_paths(cfg)
    members, floor = find_members(paths.data_runs, names, rows, sha256)
    channels = shared_channels([member.channels for member in members])
    report_left_out(members, floor, channels)
    steps = build_steps(cfg.postprocess.steps)
    full = Evaluator(load(members, channels, store, rows), channels, steps, cfg.workers)
    tuned, scored = tune_all(cfg, [member.name for member in members], full, rows)
    steps = with_parameters(steps, dict(tuned.setting.parameters))
    if cfg.second_stage and [type(step) for step in steps] != [MapWatershed, RemoveSmall]:
        print("no second stage: it takes the place of MapWatershed and RemoveSmall, of these two alone")
    elif cfg.second_stage:
        step, second = second_stage(full, [row.fold for row in rows], tuned, cfg.seed)
        scored = scores_of("second stage", second)[:2] + scored
        if second.nested.mean() > tuned.nested.mean():  # ties go to the simpler one
            steps, tuned = [step], second
    for member in floor:
        scored += score_floor(cfg, member, store, rows)
    modalities = [row.modality for row in rows]
    write_scores(paths.scores(cfg.name), scored, modalities)
    weights = [round(float(weight), 6) for weight in tuned.setting.weights]
    ensemble = EnsembleFile(
        data=cfg.data.name,
        folds_sha256=sha256,
        n_folds=len({row.fold for row in rows}),
        channels=channels,
        members=tuple(WeightedRun(RunName.parse(m.name), w) for m, w in zip(members, weights, strict=True)),
        steps=tuple(as_config(steps)),
        nested=round(float(tuned.nested.mean()), 4),
        tuned_on_all=round(float(tuned.on_all.mean()), 4),
    )
    write_ensemble(paths.ensemble(cfg.name), ensemble)
    print(score_table(scored, modalities))
    print("\n".join(by_size(full.cases, tuned.nested)))
    print("weights: " + ", ".join(f"{m.name} {w:.3f}" for m, w in zip(members, weights, strict=True)))
    values = [(name, getattr(step, name)) for step in steps for name in fields(step) if name != "trees"]
    print("post-processing: " + ", ".join(f"{name}={value}" for name, value in values))
    print(
        f"wrote {paths.ensemble(cfg.name)} in {time.monotonic() - start:.0f} s; "
        f"mAP {ensemble.nested:.4f} (nested), {ensemble.tuned_on_all:.4f} (tuned on all); "
        f"next: ./run.sh submission data={cfg.data.name} ensemble={cfg.name}"
    )


def by_size(cases: Sequence[Case], nested: np.ndarray) -> list[str]:
    """The nested score by the size of the nuclei, as lines to print."""
    medians = [float(np.median(diameters(case.truth))) if case.truth.any() else 0.0 for case in cases]
    bands = np.array([band(median, DIAMETERS, " px") for median in medians])
    lines = ["median diameter of an image's nuclei   images    mAP"]
    for name in sorted(set(bands), key=group_order):
        lines.append(f"{name:<37}{(bands == name).sum():>8}  {nested[bands == name].mean():.3f}")
    return lines


def same_images(cfg: DictConfig, store: Store, rows: Sequence[FoldRow]) -> None:
    """Refuse a folds file that was made for another store."""
    different = set(store.ids("train")) ^ {row.image_id for row in rows}
    if different:
        raise UserError(
            f"{cfg.data.folds} and {cfg.data.store} differ by {len(different)} training images, "
            f"{min(different)} among them; run ./run.sh folds force=true data={cfg.data.name}, then train"
        )


def report_left_out(members: Sequence[Member], floor: Sequence[Member], channels: Sequence[str]) -> None:
    """Say which channels and runs do not take part."""
    print(f"ensemble of {', '.join(member.name for member in members)}; channels {', '.join(channels)}")
    dropped = sorted({name for member in members for name in member.channels} - set(channels))
    if dropped:
        print(f"not in all runs, so left out: the channels {', '.join(dropped)}")
    for member in floor:
        print(f"not in the ensemble, for it has fewer maps: {member.name} ({', '.join(member.channels)})")


def load(
    members: Sequence[Member], channels: Sequence[str], store: Store, rows: Sequence[FoldRow]
) -> list[Case]:
    """Read the maps of all members and the truth, in the order of ``rows``."""
    ids = [row.image_id for row in rows]
    sizes = ((row.height, row.width) for row in rows)
    maps = [np.empty((len(members), len(channels), *size), np.uint8) for size in sizes]
    for k, member in enumerate(track(members, "read maps")):
        for of_image, own in zip(maps, member.maps(ids, channels), strict=True):
            of_image[k] = own
    truth = [store.labels(i).astype(np.uint16) for i in track(ids, "read labels")]
    return [Case(*case) for case in zip(maps, truth, strict=True)]


def tune_all(
    cfg: DictConfig, names: Sequence[str], full: Evaluator, rows: Sequence[FoldRow]
) -> tuple[Tuned, list[Score]]:
    """Tune the ensemble, then each member alone with half the trials, for comparison."""
    n, effort = len(names), Effort(cfg.trials, cfg.refine, cfg.finalists, cfg.seed)
    sample = stratified([(row.fold, row.modality) for row in rows], cfg.images, cfg.seed)
    cases = [case.middle(cfg.crop) if i in set(sample) else case for i, case in enumerate(full.cases)]
    images = Images(
        full, Evaluator(cases, full.channels, full.steps, cfg.workers), sample, [r.fold for r in rows]
    )
    ranges, parameters = searched(cfg, full.steps)
    space = Space(ranges, Setting((1 / n,) * n, parameters))
    tuned = tune(space, images, effort, "ensemble" if n > 1 else names[0])
    scored = scores_of("ensemble" if n > 1 else names[0], tuned)
    for j in range(n if n > 1 else 0):
        alone = Space(ranges, Setting(tuple(np.eye(n)[j].tolist()), parameters), free_weights=False)
        scored += scores_of(names[j], tune(alone, images, effort.half(), names[j]))
    return tuned, scored


def searched(cfg: DictConfig, steps: Sequence[Any]) -> tuple[dict[str, Range], tuple[tuple[str, float], ...]]:
    """Return the ranges of those parameters that the steps have, and their values in the config."""
    known = {name: getattr(step, name) for step in steps for name in fields(step)}
    ranges = {str(name): Range(**values) for name, values in cfg.space.items() if name in known}
    return ranges, tuple((name, known[name]) for name in ranges)


def scores_of(name: str, tuned: Tuned) -> list[Score]:
    """List the scores of one tuning, the honest one first."""
    kinds = {"nested": tuned.nested, "tuned on all": tuned.on_all, "default": tuned.default}
    return [Score(name, kind, precision) for kind, precision in kinds.items()]


def score_floor(cfg: DictConfig, member: Member, store: Store, rows: Sequence[FoldRow]) -> list[Score]:
    """Score a run that is not in the ensemble, with each post-processing that needs no tuning."""
    cases = load([member], member.channels, store, rows)
    scored = []
    for name, postprocess in cfg.floor.items():
        evaluator = Evaluator(cases, member.channels, build_steps(postprocess.steps), cfg.workers)
        scored.append(Score(member.name, name, evaluator.precision(Setting((1.0,)), range(len(cases)))))
    return scored
