"""``./run.sh export``: one run's network, with its post-processing, as one small file."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import build_paths
from nuclei.config import Call
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.errors import UserError
from nuclei.inference.model_file import (
    ModelFile,
    ModelSettings,
    export_graph,
    read_model_file,
    write_model_file,
)
from nuclei.inference.segmenter import load_weights
from nuclei.model_loading import build_network
from nuclei.paths import PROGRAM, RunName, model_path
from nuclei.training.run_folder import checked_weights, read_result, read_settings


def main(cfg: DictConfig, call: Call) -> None:
    """Write the weights of ``cfg.run`` with the post-processing of ``cfg.ensemble``, or with its own."""
    paths, run = build_paths(cfg), RunName.parse(cfg.run)
    folder = paths.fold(run, cfg.fold)
    result = read_result(folder)
    if result is None:
        expected = f"expected MODEL/NAME with a finished {folder.path.name}"
        raise UserError(f"run={run}: {expected}; {folder.train_command()}")
    settings = read_settings(folder)
    steps = settings.steps
    if cfg.ensemble is not None:
        model = model_path(cfg.ensemble)
        source = read_model_file(model).settings if model else read_ensemble(paths.ensemble(cfg.ensemble))
        if tuple(source.channels) != settings.channels:
            tuned, trained = ", ".join(source.channels), ", ".join(settings.channels)
            raise UserError(f"ensemble={cfg.ensemble} is of the maps {tuned}; {run} gives {trained}")
        steps = tuple(source.steps)
    made = ModelSettings(settings.network, settings.channels, steps, 1, result.diameter, result.scales)
    path = Path(cfg.output or f"{run.model}_{run.name}.safetensors")
    network = build_network(settings.network, settings.channels, pretrained=False)
    network = load_weights(network, checked_weights(folder)).cpu()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    graph = None
    try:
        graph = export_graph(network)
    except UserError as e:
        print(f"{e}; predict will run it by torch", file=sys.stderr)
    write_model_file(path, ModelFile(made, weights, graph))
    data = path.read_bytes()
    print(
        f"wrote {path}: {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}; "
        f"next: {PROGRAM} predict input=FOLDER weights={path}"
    )
