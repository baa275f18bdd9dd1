"""``./run.sh table``: train the systems of a paper, and write a page of its figures and ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import as_tree, build_paths, ensure_data, named_steps, run_step
from nuclei.config import Call
from nuclei.data.store import Store
from nuclei.model_loading import run_steps, trained_network
from nuclei.paths import ROOT
from nuclei.reproduce.paper_page import reproduce
from nuclei.reproduce.systems import Reproduction, parse_paper
from nuclei.training.environment import code_state


def main(cfg: DictConfig, call: Call) -> None:
    """Train what is missing, score, and write the page with its figures and submissions."""
    paper = parse_paper(as_tree(cfg.paper))
    paper.budget(cfg.budget)  # unknown budgets end here, before the data are prepared
    ensure_data(cfg, call)
    paths = build_paths(cfg)
    study = Reproduction(
        paper=paper,
        budget_name=cfg.budget,
        seed=cfg.seed,
        paths=paths,
        store=Store(cfg.data.store),
        train_command=partial(run_step, "train", cfg, call),
        build_steps=lambda folder, name: named_steps(name) if name else run_steps(folder),
        load_network=trained_network,
    )
    commit, changed = code_state(ROOT)
    print(
        reproduce(
            study,
            only=cfg.only,
            folder=Path(cfg.docs),
            submissions=paths.submissions,
            command=call.text,
            commit=commit[:7] + " with changes" * (changed == "yes"),
        )
    )
