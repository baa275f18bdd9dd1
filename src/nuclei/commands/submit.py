"""``./run.sh submit``: validate a submission, send it, wait for its score, write the ledger."""

from __future__ import annotations

from omegaconf import DictConfig

from nuclei.build import build_paths
from nuclei.config import Call
from nuclei.kaggle.client import check_interval
from nuclei.kaggle.competition import Competition, Submission, find_submission, refuse_invalid
from nuclei.paths import ROOT
from nuclei.submission.csv_files import expected_images


def main(cfg: DictConfig, call: Call) -> None:
    """Send a submission; one that was sent and has no score yet is only waited for."""
    check_interval(cfg.poll)
    paths = build_paths(cfg)
    path = find_submission(paths.submissions, cfg.submission, cfg.name)
    refuse_invalid(path, expected_images(paths.store, paths.root, cfg.solution))
    competition = Competition(cfg.kaggle.competition, cfg.kaggle.patience, cfg.kaggle.retries)
    submission = Submission(path, competition, paths.ledger, ROOT)
    row = submission.send(cfg.message, cfg.again)
    submission.wait(row, cfg.wait, cfg.poll)
