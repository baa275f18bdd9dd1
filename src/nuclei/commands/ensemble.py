"""``./run.sh ensemble``: weights and post-processing for a set of runs, tuned on their out-of-fold maps."""

from __future__ import annotations

import time

import cv2
from omegaconf import DictConfig

from nuclei.analysis.score_statistics import precision_by_diameter
from nuclei.build import as_names, build_paths, build_postprocess
from nuclei.config import Call
from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import score_table, write_ensemble, write_scores
from nuclei.ensemble.fit_second_stage import choose_second_stage
from nuclei.ensemble.oof import (
    Evaluator,
    check_same_images,
    describe_members,
    find_members,
    load_cases,
    score_untuned,
    shared_channels,
)
from nuclei.ensemble.tune import Effort, ensemble_of, tunable, tune_members
from nuclei.postprocess.pipeline import fields, with_parameters


def main(cfg: DictConfig, call: Call) -> None:
    """Choose the weights and the post-processing; write them with their nested score."""
    start = time.monotonic()
    cv2.setNumThreads(1)  # the evaluators' threads keep the cores busy
    paths = build_paths(cfg)
    store, rows, sha256 = Store(paths.store), read_folds(paths.folds), folds_sha256(paths.folds)
    check_same_images(store.ids("train"), rows, paths)
    members, others = find_members(paths.data_runs, as_names(cfg.runs), rows, sha256, store.sha256)
    channels = shared_channels([member.channels for member in members])
    print(describe_members(members, others, channels))
    steps = build_postprocess(cfg.postprocess)
    full = Evaluator(load_cases(members, channels, store, rows), channels, steps, cfg.workers)
    effort = Effort(cfg.trials, cfg.refine, cfg.finalists, cfg.seed)
    settings = (*tunable(cfg.space, steps), effort, cfg.images, cfg.crop)
    names, folds = [member.name for member in members], [row.fold for row in rows]
    tuned, scores = tune_members(names, full, rows, *settings)
    steps = with_parameters(steps, dict(tuned.setting.parameters))
    if cfg.second_stage:
        steps, tuned, more = choose_second_stage(full, folds, tuned, steps, cfg.seed)
        scores = more + scores
    for member in others:
        cases = load_cases([member], member.channels, store, rows)
        for name, floor in cfg.floor.items():
            evaluator = Evaluator(cases, member.channels, build_postprocess(floor), cfg.workers)
            scores.append(score_untuned(member.name, name, evaluator))
    modalities = [row.modality for row in rows]
    write_scores(paths.scores(cfg.name), scores, modalities)
    ensemble = ensemble_of(tuned, paths.data, folds, sha256, names, channels, steps)
    write_ensemble(paths.ensemble(cfg.name), ensemble)
    print(score_table(scores, modalities))
    print(precision_by_diameter([case.truth for case in full.cases], tuned.nested))
    print("weights: " + ", ".join(f"{member.run} {member.weight:.3f}" for member in ensemble.members))
    values = [f"{name}={getattr(step, name)}" for step in steps for name in fields(step) if name != "trees"]
    print("post-processing: " + ", ".join(values))
    after = call.next("submission", paths.data, f"ensemble={cfg.name}")
    if not store.ids("test"):
        after = "there are no test images, so for a model file train fold=all, then export"
    print(
        f"wrote {paths.ensemble(cfg.name)} in {time.monotonic() - start:.0f} s; "
        f"mAP {ensemble.nested:.4f} (nested), {ensemble.tuned_on_all:.4f} (tuned on all); "
        f"next: {after}"
    )
