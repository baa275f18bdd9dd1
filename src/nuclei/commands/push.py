"""``./run.sh push``: the bundle becomes a Kaggle dataset, notebooks run on it, their output comes back."""

from __future__ import annotations

from omegaconf import DictConfig

from nuclei.build import build_folders
from nuclei.config import Call
from nuclei.kaggle.client import check_interval
from nuclei.kaggle.notebooks import Push, full_ids
from nuclei.paths import ROOT


def main(cfg: DictConfig, call: Call) -> None:
    """Send the dataset, then each notebook in turn."""
    check_interval(cfg.poll)
    push = Push(
        root=ROOT,
        folders=build_folders(cfg),
        ids=full_ids(cfg.owner, {str(name): slug for name, slug in cfg.ids.items()}),
        competition=cfg.kaggle.competition,
        timeout=cfg.kaggle.patience,
        retries=cfg.kaggle.retries,
        limit=cfg.wait,
        interval=cfg.poll,
    )
    push.send_all(list(cfg.notebooks))
