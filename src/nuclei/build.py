"""Build objects from settings (paths, post-processing, networks, segmenters), and run a command as a step.

Settings name a class by ``_target_``; nothing but this module, ``cli`` and ``config`` knows Hydra, which
builds what a command's settings name. What files name, networks and post-processing, is built without it.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nuclei.config import Call, compose_config
from nuclei.errors import UserError
from nuclei.paths import Folders, FoldFolder, Paths, RunName, default_model, model_path
from nuclei.training.recipe import GPU_DEVICES

if TYPE_CHECKING:
    from nuclei.data.folds import FoldRow
    from nuclei.ensemble.ensemble_file import EnsembleFile
    from nuclei.inference.model_file import ModelFile
    from nuclei.inference.predict_maps import Network
    from nuclei.inference.segmenter import Segmenter, WeightedNetwork
    from nuclei.models.base import SegmentationNetwork
    from nuclei.postprocess.pipeline import Step
    from nuclei.training.train_fold import FoldTraining, InitialWeights


def build_folders(cfg: DictConfig) -> Folders:
    """Return where the stages read and write."""
    return Folders(**{field.name: Path(cfg.paths[field.name]) for field in dataclasses.fields(Folders)})


def build_paths(cfg: DictConfig) -> Paths:
    """Return where the stages read and write, for the data set of a command's settings."""
    data = {name: Path(cfg.data[name]) for name in ("root", "store", "folds")}
    return Paths(**vars(build_folders(cfg)), data=cfg.data.name, **data)


def as_tree(cfg: DictConfig) -> dict[str, Any]:
    """Return settings as plain Python values, resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))


def build(settings: Any, **arguments: Any) -> Any:
    """Build what ``_target_`` names: a loss, an optimizer, an augmentation, a data source."""
    return instantiate(settings, _convert_="all", **arguments)


def _classes(package: str, only: str | None = None) -> Iterator[type]:
    """Yield every class that the modules of a package name, or ``only`` one of its modules."""
    room = importlib.import_module(package)
    for module in pkgutil.walk_packages(room.__path__, f"{package}."):
        if only in (None, module.name):
            yield from (c for c in vars(importlib.import_module(module.name)).values() if isinstance(c, type))


@cache
def _step_classes() -> dict[str, type]:
    """Return every post-processing step by the name of its class: dataclasses that can be called."""
    return {
        c.__name__: c
        for c in _classes("nuclei.postprocess")
        if dataclasses.is_dataclass(c) and any("__call__" in vars(b) for b in c.mro()[:-1])
    }


@cache
def _network_classes(only: str | None = None) -> dict[str, type]:
    """Return every network by the name of its class, or those that ``only`` one module names."""
    from nuclei.models.base import SegmentationNetwork

    found = (c for c in _classes("nuclei.models", only) if issubclass(c, SegmentationNetwork))
    return {c.__name__: c for c in found if c is not SegmentationNetwork}


def _build_own(kind: str, classes: Mapping[str, type], settings: Any, **arguments: Any) -> Any:
    """Build one of the project's own classes from settings, which may come from a file that somebody sent.

    The class is found by the last name in ``_target_``, and its arguments are plain data, so that settings
    cannot name code to run.

    Args:
        kind: of the classes, for messages.
        classes: by name.
        settings: a mapping with ``_target_`` and arguments.
        **arguments: those that the program gives, whatever the settings say.

    Raises:
        UserError: there is no such class, an argument is not plain, or the class does not take it.
    """
    tree = OmegaConf.to_container(settings, resolve=True) if OmegaConf.is_config(settings) else settings
    if not isinstance(tree, Mapping):
        raise UserError(f"expected the settings of a {kind}, got {str(tree)[:80]}")
    name = str(tree.get("_target_")).rpartition(".")[2]
    if name not in classes:
        raise UserError(f"no {kind} {name[:80]}; there are {', '.join(sorted(classes))}")
    given = {str(key): value for key, value in tree.items() if key != "_target_"}
    if not _is_plain(given):
        raise UserError(f"{kind} {name}: expected numbers, text, lists and mappings of these as arguments")
    try:
        return classes[name](**(given | arguments))
    except (TypeError, ValueError) as e:
        raise UserError(f"{kind} {name}: {e}") from e


def _is_plain(value: Any) -> bool:
    """Return whether a value is numbers, text, None, and lists and mappings of these without ``_key_``."""
    if isinstance(value, Mapping):
        names = all(isinstance(key, str) and not key.startswith("_") for key in value)
        return names and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def build_steps(steps: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Build a post-processing from its settings.

    Raises:
        UserError: there is no such step, or it has no such parameter.

    >>> build_steps([{"_target_": "nuclei.postprocess.components.RemoveSmall", "min_area": 20}])
    [RemoveSmall(min_area=20)]
    """
    return [_build_own("post-processing step", _step_classes(), step) for step in steps]


@contextmanager
def _read_from(path: Path) -> Iterator[None]:
    """Name the file in the error about what it holds."""
    try:
        yield
    except (UserError, RuntimeError) as e:  # RuntimeError: PyTorch's, of weights that do not fit
        raise UserError(f"{path}: {' '.join(str(e).split())[:500]}") from e


def named_steps(name: str) -> list[Step]:
    """Build the post-processing of a name, an option of the group ``postprocess``."""
    return build_steps(compose_config("train", [f"postprocess={name}"]).postprocess.steps)


def run_steps(folder: FoldFolder) -> list[Step]:
    """Build the post-processing that a run was trained with."""
    from nuclei.training.run_folder import read_settings

    with _read_from(folder.settings):
        return build_steps(read_settings(folder).steps)


def build_network(
    settings: Mapping[str, Any], channels: Sequence[str], pretrained: bool = True
) -> SegmentationNetwork:
    """Build a network with a map for each channel.

    Args:
        settings: the setting ``model.network``.
        channels: names of its maps.
        pretrained: False where the weights will come from a file, so that no other ones are asked for.

    Raises:
        UserError: there is no such network, or it takes no such arguments.
    """
    unset = {name: None for name in ("encoder_weights", "weights") if name in settings and not pretrained}
    # Where the settings name the module, no other one is imported: torchvision alone takes seconds.
    target = settings.get("_target_") if isinstance(settings, Mapping) else None
    module, _, name = str(target).rpartition(".")
    found = _network_classes(module)
    classes = found if name in found else _network_classes()
    network = _build_own("network", classes, settings, **unset, n_channels=len(channels))
    return cast("SegmentationNetwork", network)


def trained_network(folder: FoldFolder, weight: float = 1.0, tta: int | None = None) -> WeightedNetwork:
    """Load one trained fold.

    Args:
        folder: of the fold.
        weight: of its maps in the mean of several.
        tta: dihedral views to average; None for those of the training's own prediction.

    Raises:
        UserError: the run is not finished, or its weights are missing or damaged.
    """
    from nuclei.inference.segmenter import WeightedNetwork, load_weights
    from nuclei.training.run_folder import checked_weights, read_result, read_settings

    result = read_result(folder)
    if result is None:
        raise UserError(f"{folder} is not finished; train it again as the ensemble's other runs were")
    settings = read_settings(folder)
    with _read_from(folder.settings):
        network = build_network(settings.network, settings.channels, pretrained=False)
    return WeightedNetwork(
        load_weights(network, checked_weights(folder)),
        settings.channels,
        weight,
        result.tta if tta is None else tta,
        result.diameter,
        result.scales,
    )


def ensemble_segmenter(ensemble: EnsembleFile, path: Path, paths: Paths, tta: int | None = None) -> Segmenter:
    """Load every fold of every member that has a weight; ``path`` is the ensemble file, for messages."""
    from nuclei.inference.segmenter import Segmenter

    with _read_from(path):
        steps = build_steps(ensemble.steps)
    networks = []
    for member in ensemble.weighted:
        for fold in range(ensemble.n_folds):
            folder = paths.fold(member.run, fold)
            networks.append(trained_network(folder, member.weight / ensemble.n_folds, tta))
            ensemble.check_channels(folder, networks[-1].channels)
    return Segmenter(networks, ensemble.channels, steps)


Engine = Literal["onnx", "torch"]


def file_segmenter(path: Path, tta: int | None = None, engine: Engine | None = None) -> Segmenter:
    """Load the network of a file that ``export`` wrote.

    Args:
        path: of the file.
        tta: dihedral views to average; None for those that the file says.
        engine: what computes the maps; None takes ONNX Runtime on a machine without a GPU, where the file
            has a graph for it, so that torch need not be imported, which takes seconds.

    Raises:
        UserError: the file is missing, damaged, or of another form, or has no graph for the engine.
    """
    from nuclei.inference.model_file import read_model_file
    from nuclei.inference.onnx_network import OnnxNetwork
    from nuclei.inference.segmenter import Segmenter, WeightedNetwork

    model = read_model_file(path)
    settings = model.settings
    if engine is None:
        engine = "onnx" if model.graph and not any(map(os.path.exists, GPU_DEVICES)) else "torch"
    with _read_from(path):
        steps = build_steps(settings.steps)
        if engine == "torch":
            network = _torch_network(model)
        elif model.graph:
            network = OnnxNetwork(model.graph, model.weights)
        else:
            raise UserError("it has no graph for ONNX Runtime; ./run.sh export makes files that have one")
    views = settings.tta if tta is None else tta
    weighted = WeightedNetwork(network, settings.channels, 1.0, views, settings.diameter, settings.scales)
    return Segmenter([weighted], settings.channels, steps)


def _torch_network(model: ModelFile) -> Network:
    """Build the network of a model file and put it where it runs."""
    from nuclei.inference.predict_maps import place

    network = build_network(model.settings.network, model.settings.channels, pretrained=False)
    network.load_state_dict(model.tensors())
    return place(network)


def build_segmenter(paths: Paths, ensemble: str | None, weights: str | None, tta: int | None) -> Segmenter:
    """Load an ensemble by name, or else a model file, by default the one that comes with the project."""
    if ensemble is not None:
        from nuclei.ensemble.ensemble_file import read_ensemble

        path = paths.ensemble(ensemble)
        return ensemble_segmenter(read_ensemble(path), path, paths, tta)
    return file_segmenter(Path(weights) if weights else default_model(), tta)


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
        steps=build_steps(cfg.postprocess.steps),
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
    if cfg.fold != "all" and path != default_model():
        print(
            f"warning: if init={cfg.init} was trained on images of data={cfg.data.name}, "
            "it has seen the held-out ones, and the out-of-fold score is too high",
            file=sys.stderr,
        )
    return path


def run_step(command: str, cfg: DictConfig, call: Call, *overrides: str) -> None:
    """Run another command as a step of this one, on the data and in the folders of ``cfg``.

    Args:
        command: the other one.
        cfg: settings of this command.
        call: of this command, which records and hints show.
        overrides: settings of the other one, ``key=value``.
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
    """Check that a store is of the files that the data set has now, where these are there.

    Raises:
        UserError: they are others.
    """
    from nuclei.data.store import Store

    source = build(cfg.data.source)
    if not source.root.is_dir():
        return
    data = f"data={cfg.data.name} data.root={source.root}"
    if (before := Store(cfg.data.store).state) and before != source.state():
        raise UserError(
            f"{cfg.data.store} was made of other files than {source.root} has now; run "
            f"./run.sh prepare {data} and ./run.sh folds {data} force=true, or keep it "
            "and name others: data.store= data.folds= name="
        )


def fold_numbers(cfg: DictConfig) -> set[int]:
    """Return the numbers of the folds in the folds file, or of those that ``folds`` would make."""
    from nuclei.data.folds import read_folds

    if Path(cfg.data.folds).exists():
        return {row.fold for row in read_folds(cfg.data.folds)}
    return set(range(compose_config("folds", [f"data={cfg.data.name}"]).n_folds))
