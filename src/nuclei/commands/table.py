"""``./run.sh table``: train the systems of a paper, and write a page of its figures and ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nuclei.call import Call
from nuclei.commands._segmenter import network_of
from nuclei.commands._steps import ensure_data, step
from nuclei.data.store import Store
from nuclei.reproduce.paper_config import parse_paper
from nuclei.reproduce.paper_page import reproduce
from nuclei.reproduce.systems import Reproduction
from nuclei.submission.submission_record import code_state
from nuclei.training.run_folder import settings_of

ROOT = Path(__file__).resolve().parents[3]


def main(cfg: DictConfig, call: Call) -> None:
    """Train what is missing, score, and write the page with its figures and submissions."""
    paper = parse_paper(OmegaConf.to_container(cfg.paper, resolve=True))  # type: ignore[arg-type]
    paper.budget(cfg.budget)  # unknown budgets end here, before the data are prepared
    ensure_data(cfg, call)
    study = Reproduction(
        paper=paper,
        budget_name=cfg.budget,
        seed=cfg.seed,
        data=cfg.data.name,
        folds_file=cfg.data.folds,
        runs=Path(cfg.paths.runs),
        store=Store(cfg.data.store),
        train_command=partial(step, "train", cfg, call),
        build_steps=steps_of,
        load_network=partial(network_of, tta=None),
    )
    commit, changed = code_state(ROOT)
    print(
        reproduce(
            study,
            only=cfg.only,
            folder=Path(cfg.docs),
            submissions=Path(cfg.paths.submissions),
            command=call.text,
            commit=commit[:7] + " with changes" * (changed == "yes"),
        )
    )


def steps_of(folder: Path) -> list[Any]:
    """Build the post-processing that a run was trained with."""
    return [instantiate(settings) for settings in settings_of(folder)["postprocess"]["steps"]]
