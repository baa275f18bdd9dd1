"""``./run.sh train``: one model on one fold, then its out-of-fold maps."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import (
    as_tree,
    build_paths,
    build_training,
    ensure_data,
    fit_sizes,
    fold_numbers,
    initial_weights,
)
from nuclei.config import Call, override_words
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.paths import PROGRAM, ROOT, Paths, RunName
from nuclei.training.environment import current_environment, write_environment
from nuclei.training.run_folder import (
    checked_weights,
    claim,
    is_first_process,
    locked,
    read_result,
    write_result,
)

PREDICTION = ("tta", "diameter", "scales")
DEVICES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy")
FREE = ("paths", "num_workers", "val_crops", "data", "recipe", *DEVICES, *PREDICTION)
"""Settings that may differ when a run goes on. They change nothing in the weights, but for the devices, over
which the loss is computed in parts; the data set's name is in the path."""


def main(cfg: DictConfig, call: Call) -> None:
    """Train, predict the held-out images, keep their maps; go on where a killed run stopped."""
    paths = build_paths(cfg)
    check_fold(cfg.fold, fold_numbers(cfg), paths)
    init = initial_weights(cfg, paths)
    if is_first_process():
        ensure_data(cfg, call)
    else:
        wait_for(paths.store, paths.folds)
    rows, sha256 = read_folds(paths.folds), folds_sha256(paths.folds)
    check_fold(cfg.fold, {row.fold for row in rows}, paths)
    if all(row.fold == cfg.fold for row in rows):
        raise UserError(f"fold={cfg.fold} holds out every image; choose fold=all, or annotate more images")
    if sizes := fit_sizes(cfg):
        print(sizes)
    folder = paths.fold(RunName(cfg.model.name, cfg.name), cfg.fold)
    if not is_first_process():
        from nuclei.training.train_fold import train_fold

        train_fold(build_training(cfg, folder, rows, sha256, init), first=False)
        return
    with locked(folder):
        store_sha256 = Store(paths.store).sha256
        hashes = {"folds_sha256": sha256, "store_sha256": store_sha256}
        if claim(folder, as_tree(cfg) | hashes, FREE) or not folder.environment.exists():
            environment = current_environment(call.text, call.overrides, ROOT, store_sha256)
            write_environment(folder.environment, environment)
        result, verb = read_result(folder), "finished before:"
        if result is None or not result.predicted_with(cfg.tta, cfg.diameter, tuple(cfg.scales)):
            from nuclei.training.train_fold import train_fold

            training = build_training(cfg, folder, rows, sha256, init)
            if result is not None:  # new maps beside an old result would pass for its own
                if folder.weights.exists():
                    checked_weights(folder)
                folder.result.unlink()
            result, verb = train_fold(training), "wrote"
            assert result is not None  # of the first process
            write_result(folder, result)
    advice = following(cfg, call, paths, rows)
    print(f"{verb} {folder}; {result.summary}, {result.seconds:.0f} s; next: {advice}")


def wait_for(*files: Path) -> None:
    """Wait until the first process has made the files; where it fails, torchrun or Slurm ends this one."""
    while not all(file.exists() for file in files):
        time.sleep(0.5)


def check_fold(fold: int | str, folds: set[int], paths: Paths) -> None:
    """Refuse a fold that is not there."""
    if fold != "all" and fold not in folds:
        raise UserError(f"fold={fold}: expected 0 to {max(folds)}, the folds of {paths.folds}, or all")


def following(cfg: DictConfig, call: Call, paths: Paths, rows: list[FoldRow]) -> str:
    """Return the command for the first fold that is not finished, for the ensemble, or for the model file."""
    if cfg.fold == "all":
        return call.next("export", cfg.data.name, f"run={cfg.model.name}/{cfg.name}")
    for fold in sorted({row.fold for row in rows}):
        if read_result(paths.fold(RunName(cfg.model.name, cfg.name), fold)) is None:
            named = {"fold": fold, "data": cfg.data.name, "model": cfg.model.name, "name": cfg.name}
            words = call.overrides if call.command == "train" else ()
            named |= {
                key: value for key, _, value in (word.partition("=") for word in words) if key == "data"
            }
            others = [word for word in words if word.partition("=")[0] not in named]
            return shlex.join([PROGRAM, *override_words(named), *others])
    return call.next("ensemble", cfg.data.name)
