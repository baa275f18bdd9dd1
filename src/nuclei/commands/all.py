"""``./run.sh all``: from the competition's files to a valid submission."""

from __future__ import annotations

from omegaconf import DictConfig

from nuclei.build import ensure_data, run_step
from nuclei.config import Call, override_words
from nuclei.data.folds import read_folds


def main(cfg: DictConfig, call: Call) -> None:
    """Run every stage in turn; a finished one is recognised by its files and skipped."""
    ensure_data(cfg, call)
    folds = sorted({row.fold for row in read_folds(cfg.data.folds)})
    for model in cfg.models:
        for fold in folds:
            names = (f"model={model}", f"fold={fold}", f"name={cfg.name}", f"recipe='{cfg.recipe}'")
            run_step("train", cfg, call, *names, *override_words(cfg.train))
    runs = ",".join(f"{model}/{cfg.name}" for model in cfg.models)
    run_step("ensemble", cfg, call, f"runs=[{runs}]", f"name={cfg.name}", *override_words(cfg.ensemble))
    run_step("submission", cfg, call, f"ensemble={cfg.name}", *override_words(cfg.submission))
