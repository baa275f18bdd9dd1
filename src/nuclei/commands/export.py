"""``./run.sh export``: one run's network, with its post-processing, as one small file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
from omegaconf import DictConfig

from nuclei.call import Call
from nuclei.commands._segmenter import BOX
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.errors import UserError
from nuclei.inference.model_file import ModelFile, ModelSettings, write_model_file
from nuclei.paths import run_folder
from nuclei.training.run_folder import finished, settings_of


def main(cfg: DictConfig, call: Call) -> None:
    """Take the weights of ``cfg.run`` with the post-processing of ``cfg.ensemble``, or its own."""
    model, slash, name = str(cfg.run).partition("/")
    folder = run_folder(cfg.paths.runs, cfg.data.name, model, name, cfg.fold)
    done = finished(folder)
    if not slash or done is None:
        train = f"./run.sh model={model} name={name or 'default'} fold={cfg.fold} data={cfg.data.name}"
        raise UserError(f"run={cfg.run}: expected MODEL/NAME with a finished {folder.name}; {train}")
    settings = settings_of(folder)
    trained, tuned = settings["model"], settings["postprocess"]
    if cfg.ensemble is not None:
        tuned = read_ensemble(Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble)
        if tuned["channels"] != trained["channels"]:
            maps, own = (", ".join(of["channels"]) for of in (tuned, trained))
            raise UserError(f"ensemble={cfg.ensemble} is of the maps {maps}; {cfg.run} gives {own}")
    made = ModelSettings(
        network=trained["network"],
        channels=trained["channels"],
        steps=tuned["steps"],
        tta=1,
        diameter=done["diameter"],
        scales=done.get("scales", [1.0]),
    )
    path = Path(cfg.output) if cfg.output else BOX
    write_model_file(path, ModelFile(made, safetensors.torch.load_file(folder / "model.safetensors")))
    data = path.read_bytes()
    print(
        f"wrote {path}: {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}; "
        f"next: ./run.sh predict input=FOLDER weights={path}"
    )
