"""``./run.sh all``: from the competition's files to a valid submission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from nuclei.build import ensure_data, run_step
from nuclei.config import Call
from nuclei.data.folds import read_folds


def main(cfg: DictConfig, call: Call) -> None:
    """Run every stage in turn; a finished one is recognised by its files and skipped."""
    ensure_data(cfg, call)
    folds = sorted({row.fold for row in read_folds(cfg.data.folds)})
    for model in cfg.models:
        for fold in folds:
            names = (f"model={model}", f"fold={fold}", f"name={cfg.name}", f"recipe='{cfg.recipe}'")
            run_step("train", cfg, call, *names, *overrides(cfg.train))
    runs = ",".join(f"{model}/{cfg.name}" for model in cfg.models)
    run_step("ensemble", cfg, call, f"runs=[{runs}]", f"name={cfg.name}", *overrides(cfg.ensemble))
    run_step("submission", cfg, call, f"ensemble={cfg.name}", *overrides(cfg.submission))


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Write the settings of a stage as on its command line."""
    return [f"{key}={'null' if value is None else value}" for key, value in settings.items()]
