"""``./run.sh all``: from the competition's files to a valid submission."""

from __future__ import annotations

from shlex import split

from omegaconf import DictConfig

from nuclei.call import Call
from nuclei.commands._steps import ensure_data, step
from nuclei.data.folds import read_folds


def main(cfg: DictConfig, call: Call) -> None:
    """Run every stage in turn; a finished one is recognised by its files and skipped."""
    ensure_data(cfg, call)
    folds = sorted({row.fold for row in read_folds(cfg.data.folds)})
    for model in cfg.models:
        for fold in folds:
            step("train", cfg, call, f"model={model}", f"fold={fold}", f"name={cfg.name}", *split(cfg.train))
    runs = ",".join(f"{model}/{cfg.name}" for model in cfg.models)
    step("ensemble", cfg, call, f"runs=[{runs}]", f"name={cfg.name}", *split(cfg.ensemble))
    step("submission", cfg, call, f"ensemble={cfg.name}", *split(cfg.submission))
