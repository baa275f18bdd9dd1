"""``./run.sh reproduce``: what differs between a run's environment, data, folds and settings and today's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from nuclei.build import as_tree, build_paths, fit_sizes
from nuclei.config import Call, compose_config, override_words
from nuclei.data.folds import folds_sha256
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.paths import PROGRAM, ROOT, RunName
from nuclei.training.environment import current_environment, differences, read_environment, small_settings
from nuclei.training.run_folder import different_settings, read_settings, recorded_recipe


def main(cfg: DictConfig, call: Call) -> None:
    """Print a line for each difference, and the command that trains the run again."""
    paths, run = build_paths(cfg), RunName.parse(cfg.run)
    folder = paths.fold(run, cfg.fold)
    if not folder.settings.exists():
        raise UserError(f"run={run}: expected MODEL/NAME, a run whose fold {cfg.fold} was begun")
    before = read_environment(folder.environment)
    now = current_environment(before.command, before.words, ROOT, Store(paths.store).sha256)
    different = list(differences(before, now))
    if read_settings(folder).folds_sha256 != folds_sha256(paths.folds):
        different.append(f"folds: {paths.folds} is another file than the one trained with")
    recipe = recorded_recipe(folder) if cfg.data.without_gpu else "full"
    named = {"data": cfg.data.name, "fold": cfg.fold, "model": run.model, "name": run.name}
    words = [word for word in before.words if word.partition("=")[0] not in {*named, "recipe"}]
    if not before.command.startswith("./run.sh train"):
        # A step of another command, which names settings in its own way.
        words = [word for word in words if word.startswith(("data.", "paths."))]
        changed = different_settings(folder, settings_today([*override_words(named), *words], recipe))
        words += override_words({key: own for key, (own, _) in changed.items()})
    today = settings_today([*override_words(named), *words], recipe)
    for key, (own, other) in different_settings(folder, today).items():
        different.append(f"setting {key}: {own}, today {other}")
    for line in different:
        print(line)
    if cfg.data.without_gpu:
        words.append(f"recipe={recipe}")  # whatever this machine has
    again = shlex.join([PROGRAM, "train", *override_words(named | {"name": "again"}), *words])
    same = "nothing differs, so the weights will be the same" if not different else "train it as it is today"
    print(f"{folder} was trained by {before.command}; {same}: {again}")


def settings_today(words: Sequence[str], recipe: str) -> Mapping[str, Any]:
    """Return the settings that a call of ``train`` has with a recipe, as a tree."""
    cfg = compose_config("train", words)
    if recipe == "small":
        chosen = {word.partition("=")[0] for word in words}
        small = small_settings(cfg.data.without_gpu, chosen)
        cfg = compose_config("train", [*words, *override_words(small)])
    fit_sizes(cfg)
    return as_tree(cfg)
