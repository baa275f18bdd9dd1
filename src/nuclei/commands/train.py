"""``./run.sh train``: one model on one fold, then its out-of-fold maps."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import as_tree, build_paths, build_training, ensure_data, fold_numbers, initial_weights
from nuclei.config import Call
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.sources.folder import choose_sizes
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.paths import PROGRAM, ROOT, Paths, RunName
from nuclei.training.environment import current_environment, write_environment
from nuclei.training.run_folder import claim, is_first_process, locked, read_result, write_result

PREDICTION = ("tta", "diameter", "scales")
DEVICES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy")
FREE = ("paths", "num_workers", "val_crops", "postprocess", "data", "recipe", *DEVICES, *PREDICTION)
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
    if cfg.data.budget.crop is None:
        fit_sizes(cfg, Store(paths.store))
    folder = paths.fold(RunName(cfg.model.name, cfg.name), cfg.fold)
    if not is_first_process():
        from nuclei.training.train_fold import train_fold

        train_fold(build_training(cfg, folder, rows, sha256, init), first=False)
        return
    with locked(folder):
        claim(folder, as_tree(cfg) | {"folds_sha256": sha256}, FREE)
        if not folder.environment.exists():
            write_environment(
                folder.environment, current_environment(call.text, call.overrides, ROOT, paths.store)
            )
        result, verb = read_result(folder), "finished before:"
        if result is None or not result.predicted_with(cfg.tta, cfg.diameter, tuple(cfg.scales)):
            from nuclei.training.train_fold import train_fold

            result, verb = train_fold(build_training(cfg, folder, rows, sha256, init)), "wrote"
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


def fit_sizes(cfg: DictConfig, store: Store) -> None:
    """Set crop and magnification by the images, and say so; what was set by hand stays."""
    sizes = choose_sizes(store, cfg.diameter)
    cfg.data.budget.crop, cfg.data.budget.scale = sizes.crop, list(sizes.scale)
    low, high = cfg.augment.get("scale") or (1, 1)
    print(
        f"nuclei have a diameter of {sizes.diameter:.0f} pixels: crops of {cfg.augment.crop} pixels, "
        f"magnified {low:g} to {high:g} times"
    )


def following(cfg: DictConfig, call: Call, paths: Paths, rows: list[FoldRow]) -> str:
    """Return the command for the first fold that is not finished, for the ensemble, or for the model file."""
    if cfg.fold == "all":
        return f"{PROGRAM} export data={cfg.data.name} run={cfg.model.name}/{cfg.name}"
    for fold in sorted({row.fold for row in rows}):
        if read_result(paths.fold(RunName(cfg.model.name, cfg.name), fold)) is None:
            chosen = [f"data={cfg.data.name}", f"model={cfg.model.name}", f"name={cfg.name}"]
            return " ".join([PROGRAM, f"fold={fold}", *chosen, *map(shlex.quote, other_settings(call))])
    return f"{PROGRAM} ensemble data={cfg.data.name}"


def other_settings(call: Call) -> list[str]:
    """Return the settings as typed, but for those that name the fold."""
    words = call.overrides if call.command == "train" else ()
    return [word for word in words if word.partition("=")[0] not in ("fold", "data", "model", "name")]
