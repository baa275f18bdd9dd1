"""One command calls another: with its own config, on the caller's data and paths."""

from __future__ import annotations

import importlib
from pathlib import Path

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from nuclei.call import Call


def step(command: str, cfg: DictConfig, call: Call, *overrides: str) -> None:
    """Run ``command`` as if it were typed with ``overrides``, on ``cfg.data`` and ``cfg.paths``.

    Records and hints show ``call``, what the user typed.
    """
    own = compose(command, overrides=[f"data={cfg.data.name}", *overrides])
    with open_dict(own):
        own.data, own.paths = cfg.data, cfg.paths
    OmegaConf.resolve(own)
    importlib.import_module(f"nuclei.commands.{command}").main(own, call)


def ensure_data(cfg: DictConfig, call: Call) -> None:
    """Prepare the store and the folds where they are missing."""
    for command, path in (("prepare", cfg.data.store), ("folds", cfg.data.folds)):
        if not Path(path).exists():
            step(command, cfg, call)
