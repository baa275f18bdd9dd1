"""``./run.sh push``: the bundle becomes a Kaggle dataset, notebooks run on it, their output comes back."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from nuclei.config import Call
from nuclei.kaggle.notebooks import Push, full_ids
from nuclei.paths import ROOT


def main(cfg: DictConfig, call: Call) -> None:
    """Send the dataset, then each notebook in turn."""
    push = Push(
        root=ROOT,
        kernels=Path(cfg.paths.kernels),
        ids=full_ids(cfg.owner, {str(name): slug for name, slug in cfg.ids.items()}),
        competition=cfg.kaggle.competition,
        timeout=cfg.kaggle.patience,
        retries=cfg.kaggle.retries,
        limit=cfg.wait,
        interval=cfg.poll,
    )
    push.send_all(list(cfg.notebooks))
