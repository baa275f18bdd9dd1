"""``./run.sh reproduce``: what differs between a run's environment, data, folds and settings and today's."""

from __future__ import annotations

import shlex

from omegaconf import DictConfig

from nuclei.build import as_tree, build_paths
from nuclei.config import Call, compose_config
from nuclei.data.folds import folds_sha256
from nuclei.errors import UserError
from nuclei.paths import ROOT, RunName
from nuclei.training.environment import current_environment, differences, read_environment
from nuclei.training.run_folder import different_settings, read_settings


def main(cfg: DictConfig, call: Call) -> None:
    """Print a line for each difference, and the command that trains the run again."""
    paths, run = build_paths(cfg), RunName.parse(cfg.run)
    folder = paths.fold(run, cfg.fold)
    if not folder.settings.exists():
        raise UserError(f"run={run}: expected MODEL/NAME, a run whose fold {cfg.fold} was begun")
    before = read_environment(folder.environment)
    now = current_environment(before.command, before.words, ROOT, paths.store)
    different = list(differences(before, now))
    if read_settings(folder).folds_sha256 != folds_sha256(paths.folds):
        different.append(f"folds: {paths.folds} is another file than the one trained with")
    named = [f"data={cfg.data.name}", f"fold={cfg.fold}", f"model={run.model}", f"name={run.name}"]
    words = list(before.words) if before.command.startswith("./run.sh train") else named
    names = {word.partition("=")[0] for word in named}
    words = [*named, *(word for word in words if word.partition("=")[0] not in names)]
    different += different_settings(folder, as_tree(compose_config("train", words)))
    for line in different:
        print(line)
    again = shlex.join(["./run.sh", "train", *words[:3], "name=again", *words[4:]])
    same = "nothing differs, so the weights will be the same" if not different else "train it as it is today"
    print(f"{folder} was trained by {before.command}; {same}: {again}")
