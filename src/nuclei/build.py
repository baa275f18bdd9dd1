"""Build what a command's settings name (paths, losses, a whole training), and run a command as a step.

Nothing but this module, ``cli`` and ``config`` knows Hydra. What files name is built by ``model_loading``.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from nuclei.config import Call, compose_config
from nuclei.errors import UserError
from nuclei.model_loading import build_network, build_steps
from nuclei.paths import PROGRAM, Folders, FoldFolder, Paths, RunName, default_model, model_path

if TYPE_CHECKING:
    from nuclei.data.folds import FoldRow
    from nuclei.postprocess.pipeline import Step
    from nuclei.training.train_fold import FoldTraining, InitialWeights


def build_folders(cfg: DictConfig) -> Folders:
    """Return where the stages read and write."""
    return Folders(**{field.name: Path(cfg.paths[field.name]) for field in dataclasses.fields(Folders)})


def build_paths(cfg: DictConfig) -> Paths:
    """Return where the stages read and write, for the data set of a command's settings."""
    data = {name: Path(cfg.data[name]) for name in ("root", "store", "folds")}
    return Paths(**vars(build_folders(cfg)), data=cfg.data.name, **data)


def as_tree(cfg: Any) -> Any:
    """Return settings as plain mappings and lists, resolved."""
    return OmegaConf.to_container(cfg, resolve=True)


def build(settings: Any, **arguments: Any) -> Any:
    """Build what ``_target_`` names: a loss, an optimizer, an augmentation, a data source."""
    return instantiate(settings, _convert_="all", **arguments)


def build_postprocess(settings: DictConfig) -> list[Step]:
    """Build the post-processing of the group ``postprocess``."""
    return build_steps(as_tree(settings.steps))


def named_steps(name: str) -> list[Step]:
    """Build the post-processing of a name, an option of the group ``postprocess``."""
    return build_postprocess(compose_config("train", [f"postprocess={name}"]).postprocess)


def build_training(
    cfg: DictConfig, folder: FoldFolder, rows: Sequence[FoldRow], sha256: str, init: InitialWeights | None
) -> FoldTraining:
    """Build the training of one fold from the settings of the command ``train``.

    Raises:
        UserError: a model of classes on data that have none.
    """
    from nuclei.data.store import Store
    from nuclei.training.train_fold import FoldTraining

    if cfg.model.channels is None:
        raise UserError(
            f"model={cfg.model.name}: data={cfg.data.name} tells no classes apart; "
            "choose data=demo or data=consep"
        )
    channels, paths = list(cfg.model.channels), build_paths(cfg)
    same = "seed batch_size samples_per_epoch num_workers val_crops schedule warmup ema_decay tta diameter"
    return FoldTraining(
        run=RunName(cfg.model.name, cfg.name),
        folder=folder,
        store=Store(paths.store),
        train_ids=[row.image_id for row in rows if row.fold != cfg.fold],
        held_out=[row.image_id for row in rows if row.fold == cfg.fold],
        folds_sha256=sha256,
        channels=channels,
        steps=build_postprocess(cfg.postprocess),
        build_network=partial(build_network, as_tree(cfg.model.network), channels),
        build_loss=partial(build, cfg.loss),
        optimizer=build(cfg.optimizer),
        augment=build(cfg.augment),
        crop=cfg.augment.get("window") or cfg.augment.crop,
        init=init,
        trainer=as_tree(cfg.trainer),
        scales=tuple(cfg.scales),
        **{name: cfg[name] for name in same.split()},
    )


def as_names(setting: Any) -> list[str] | None:
    """Return a setting that is null, one name, or a list of names, as a list."""
    if setting is None:
        return None
    return [str(name) for name in (setting if isinstance(setting, ListConfig) else [setting])]


def fit_sizes(cfg: DictConfig) -> str:
    """Set crop and magnification of a training by its images, and return a line on them.

    What was set by hand stays, and so does what the data set's own settings say.
    """
    from nuclei.data.sources.folder import choose_sizes
    from nuclei.data.store import Store

    if cfg.data.budget.crop is not None:
        return ""
    sizes = choose_sizes(Store(cfg.data.store), cfg.diameter)
    cfg.data.budget.crop, cfg.data.budget.scale = sizes.crop, list(sizes.scale)
    low, high = cfg.augment.get("scale") or (1, 1)
    return (
        f"nuclei have a diameter of {sizes.diameter:.0f} pixels: crops of {cfg.augment.crop} pixels, "
        f"magnified {low:g} to {high:g} times"
    )


def initial_weights(cfg: DictConfig, paths: Paths) -> InitialWeights | None:
    """Return what ``init`` names: a run's fold, the bundled model, or another model file.

    Raises:
        UserError: the model file may have seen the held-out images.
    """
    if cfg.init is None:
        return None
    path = model_path(cfg.init)
    if path is None:
        run = RunName.parse(cfg.init, "init")
        return run, paths.fold(run, cfg.fold)
    if cfg.fold != "all" and cfg.data.name.startswith("dsb2018"):
        raise UserError(
            f"init={cfg.init}: a model file may have seen the held-out images of data={cfg.data.name}; "
            "choose fold=all, or init=MODEL/NAME, a run of the same folds"
        )
    if cfg.fold != "all":
        seen = "the 2018 Data Science Bowl" if path == default_model() else f"data={cfg.data.name}"
        print(
            f"warning: if images here are among those of {seen} that init={cfg.init} was trained on, "
            "it has seen held-out ones, and the out-of-fold score is too high",
            file=sys.stderr,
        )
    return path


def run_step(command: str, cfg: DictConfig, call: Call, *overrides: str) -> None:
    """Run another command with overrides as a step of this one, on the data and in the folders of ``cfg``.

    Records and hints show the call of this command.
    """
    step = compose_config(command, [f"data={cfg.data.name}", *overrides])
    step.data, step.paths = cfg.data, cfg.paths
    importlib.import_module(f"nuclei.commands.{command}").main(step, call)


def ensure_data(cfg: DictConfig, call: Call) -> None:
    """Prepare the store and the folds where they are missing.

    Raises:
        UserError: the files of the data set have changed since.
    """
    for command, path in (("prepare", cfg.data.store), ("folds", cfg.data.folds)):
        if not Path(path).exists():
            run_step(command, cfg, call)
        elif command == "prepare":
            check_state(cfg)


def check_state(cfg: DictConfig) -> None:
    """Check that a store is of the files that the data set has now, where these are there and may change.

    Raises:
        UserError: they are others.
    """
    from nuclei.data.store import Store

    source, store = build(cfg.data.source), Store(cfg.data.store)
    if not source.root.is_dir() or not store.state:
        return
    places = f"data.root={source.root} data.store={cfg.data.store} data.folds={cfg.data.folds}"
    data = f"data={cfg.data.name} {places}"
    if store.state != source.state():
        raise UserError(
            f"{cfg.data.store} was made of other files than {source.root} has now; run "
            f"./run.sh prepare {data} and ./run.sh folds {data} force=true, or keep it "
            "and name others: data.store= data.folds= name="
        )
    left_out = {item.image_id for item in source.items("train")} - set(store.ids("train"))
    if left_out:
        print(
            f"warning: {len(left_out)} images of {source.root} are left out, {min(left_out)} among them; "
            f"{PROGRAM} prepare {data} says why",
            file=sys.stderr,
        )


def fold_numbers(cfg: DictConfig) -> set[int]:
    """Return the numbers of the folds in the folds file, or of those that ``folds`` would make."""
    from nuclei.data.folds import read_folds

    if Path(cfg.data.folds).exists():
        return {row.fold for row in read_folds(cfg.data.folds)}
    return set(range(compose_config("folds", [f"data={cfg.data.name}"]).n_folds))
