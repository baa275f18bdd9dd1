"""Load networks and post-processing from what files say: model files, trained folds, ensembles.

Such a file may come from anybody, so it names one of the project's own classes and plain arguments, and
nothing else is built.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from nuclei.errors import UserError
from nuclei.paths import FoldFolder, Paths, default_model
from nuclei.postprocess.pipeline import with_parameters
from nuclei.training.environment import GPU_DEVICES

if TYPE_CHECKING:
    from nuclei.ensemble.ensemble_file import EnsembleFile
    from nuclei.inference.predict_maps import Network
    from nuclei.inference.segmenter import Segmenter, WeightedNetwork
    from nuclei.models.base import SegmentationNetwork
    from nuclei.postprocess.pipeline import Step

UNBOUNDED = ("border_weight", "sigma", "peak_distance", "min_area")
"""Parameters of the post-processing that are no shares: they may exceed 1."""


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
        settings: a mapping with ``_target_`` and arguments.
        **arguments: those that the program gives, whatever the settings say.

    Raises:
        UserError: there is no such class, an argument is not plain, or the class does not take it.
    """
    if not isinstance(settings, Mapping):
        raise UserError(f"expected the settings of a {kind}, got {str(settings)[:80]}")
    name = str(settings.get("_target_")).rpartition(".")[2]
    if name not in classes:
        raise UserError(f"no {kind} {name[:80]}; there are {', '.join(sorted(classes))}")
    given = {str(key): value for key, value in settings.items() if key != "_target_"}
    if not _is_plain(given):
        raise UserError(f"{kind} {name}: expected numbers, text, lists and mappings of these as arguments")
    try:
        return classes[name](**(given | arguments))
    except UserError:
        raise
    except Exception as e:  # libraries fail in many ways on arguments that make no sense
        raise UserError(f"{kind} {name}: {str(e) or type(e).__name__}") from e


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
    """Name the file in the error about what it holds; a stranger's may hold anything."""
    try:
        yield
    except Exception as e:
        kind = "" if isinstance(e, UserError | RuntimeError) else f"{type(e).__name__}: "
        raise UserError(f"{path}: {kind}{' '.join(str(e).split())[:500]}") from e


def _tried(segmenter: Segmenter, path: Path) -> Segmenter:
    """Return a segmenter that has segmented a small image, so that its file's faults are no image's.

    Raises:
        UserError: it cannot; the message names its file.
    """
    with _read_from(path):
        segmenter.labels(segmenter.maps(np.eye(64, dtype=np.uint8)))
    return segmenter


def run_steps(folder: FoldFolder) -> list[Step]:
    """Build the post-processing that a run was trained with."""
    from nuclei.training.run_folder import read_settings

    with _read_from(folder.settings):
        return build_steps(read_settings(folder).steps)


def build_network(
    settings: Mapping[str, Any], channels: Sequence[str], pretrained: bool = True
) -> SegmentationNetwork:
    """Build a network with a map for each channel, from the setting ``model.network``.

    Where its weights will come from a file, ``pretrained=False`` asks for no other ones.

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
    from nuclei.training.run_folder import read_settings

    with _read_from(path):
        steps = build_steps(ensemble.steps)
    networks = []
    for member in ensemble.weighted:
        for fold in range(ensemble.n_folds):
            folder = paths.fold(member.run, fold)
            ensemble.check_folds(folder.path, read_settings(folder).folds_sha256)
            networks.append(trained_network(folder, member.weight / ensemble.n_folds, tta))
            ensemble.check_channels(folder, networks[-1].channels)
    return _tried(Segmenter(networks, ensemble.channels, steps), path)


Engine = Literal["onnx", "torch"]


def file_segmenter(path: Path, tta: int | None = None, engine: Engine | None = None) -> Segmenter:
    """Load the network of a file that ``export`` wrote.

    Args:
        tta: dihedral views to average; None for those that the file says.
        engine: what computes the maps; None takes ONNX Runtime on a machine without a GPU, where the file
            has a graph for it, so that torch need not be imported, which takes seconds.

    Raises:
        UserError: the file is missing, damaged, or of another form, or has no graph for the engine.
    """
    from nuclei.inference.model_file import OnnxNetwork, read_model_file
    from nuclei.inference.predict_maps import place
    from nuclei.inference.segmenter import Segmenter, WeightedNetwork

    model = read_model_file(path)
    settings = model.settings
    if engine is None:
        engine = "onnx" if model.graph and not any(map(os.path.exists, GPU_DEVICES)) else "torch"
    with _read_from(path):
        steps = build_steps(settings.steps)
        if engine == "torch":
            built = build_network(settings.network, settings.channels, pretrained=False)
            built.load_state_dict(model.tensors())
            network: Network = place(built)
        elif model.graph:
            network = OnnxNetwork(model.graph, model.weights)
        else:
            raise UserError("it has no graph for ONNX Runtime; ./run.sh export makes files that have one")
        views = (settings.tta, settings.diameter, settings.scales)
        weighted = WeightedNetwork(network, settings.channels, 1.0, *views)
    if tta is not None:
        weighted = dataclasses.replace(weighted, tta=tta)
    return _tried(Segmenter([weighted], settings.channels, steps), path)


def build_segmenter(
    paths: Paths,
    ensemble: str | None,
    weights: str | None,
    tta: int | None,
    thresholds: Mapping[str, float | None] | None = None,
) -> Segmenter:
    """Load an ensemble by name, or else a model file, by default the one that comes with the project.

    Args:
        tta: dihedral views to average; None for those that the model was made with.
        thresholds: parameters of the post-processing; None leaves the model's own.
    """
    given = {name: value for name, value in (thresholds or {}).items() if value is not None}
    check_thresholds(given)
    if ensemble is not None:
        from nuclei.ensemble.ensemble_file import read_ensemble

        path = paths.ensemble(ensemble)
        segmenter = ensemble_segmenter(read_ensemble(path), path, paths, tta)
    else:
        segmenter = file_segmenter(Path(weights) if weights else default_model(), tta)
    return dataclasses.replace(segmenter, steps=with_parameters(segmenter.steps, given))


def check_thresholds(thresholds: Mapping[str, float]) -> None:
    """Refuse parameters of the post-processing that are negative, or shares above 1."""
    for name, value in thresholds.items():
        highest = float("inf") if name in UNBOUNDED else 1.0
        if not 0 <= value <= highest or value == float("inf"):
            expected = "0 to 1" if highest == 1 else "0 or more"
            raise UserError(f"thresholds.{name}={value:g}: expected {expected}")
