"""Build what segments images: an ensemble of runs, or the model in the box."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig

from nuclei.ensemble.ensemble_file import check_maps, read_ensemble
from nuclei.errors import UserError
from nuclei.inference.model_file import read_model_file
from nuclei.inference.predict_maps import place
from nuclei.inference.segmenter import Segmenter, WeightedNetwork, load_weights
from nuclei.paths import run_folder
from nuclei.training.run_folder import finished

if TYPE_CHECKING:
    from nuclei.models.base import SegmentationNetwork

BOX = Path(__file__).parents[3] / "weights" / "nuclei.safetensors"


def of_ensemble(cfg: DictConfig) -> Segmenter:
    """Every fold of every member that has a weight, of ``cfg.ensemble``."""
    ensemble = read_ensemble(Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble)
    networks = []
    for member in (m for m in ensemble["members"] if m["weight"] > 0):
        for fold in range(ensemble["n_folds"]):
            model, name = member["run"].split("/")
            folder = run_folder(cfg.paths.runs, cfg.data.name, model, name, fold)
            networks.append(network_of(folder, member["weight"] / ensemble["n_folds"], cfg.tta))
            check_maps(ensemble, cfg.ensemble, folder, networks[-1].channels)
    return Segmenter(networks, ensemble["channels"], [instantiate(step) for step in ensemble["steps"]])


def network_of(folder: Path, weight: float, tta: int | None) -> WeightedNetwork:
    """Load one trained fold.

    Raises:
        UserError: the run is not finished, or its weights are missing or damaged.
    """
    done = finished(folder)
    if done is None:
        raise UserError(f"{folder} is not finished; train it again as the ensemble's other runs were")
    run = json.loads((folder / "config.json").read_text())
    network = untrained(run["model"]["network"], run["model"]["channels"])
    network = load_weights(network, folder / "model.safetensors")
    seen = {"diameter": done["diameter"], "scales": done.get("scales", [1.0])}
    return WeightedNetwork(network, run["model"]["channels"], weight, tta or done["tta"], **seen)


def untrained(network: Mapping[str, Any], channels: Sequence[str]) -> SegmentationNetwork:
    """Build a network that gets its weights from a file, so that no pretrained ones are asked for."""
    scratch = {key: None for key in ("encoder_weights", "weights") if key in network}
    return cast("SegmentationNetwork", instantiate({**network, **scratch}, n_channels=len(channels)))


def of_box(path: Path, tta: int | None) -> Segmenter:
    """The network of one file that ``export`` wrote."""
    model = read_model_file(path)
    made = model.settings
    network = untrained(made.network, made.channels)
    network.load_state_dict(model.weights)
    member = WeightedNetwork(place(network), made.channels, 1.0, tta or made.tta, made.diameter, made.scales)
    return Segmenter([member], made.channels, [instantiate(step) for step in made.steps])


def segmenter(cfg: DictConfig) -> Segmenter:
    """The ensemble where ``cfg.ensemble`` names one, else the file ``cfg.weights``, else the box."""
    if cfg.ensemble is not None:
        return of_ensemble(cfg)
    return of_box(Path(cfg.weights) if cfg.weights else BOX, cfg.tta)
