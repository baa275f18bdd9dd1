"""``./run.sh submission``: the ensemble's nuclei in the test images, as the competition's CSV."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from nuclei.data.intensity import normalise
from nuclei.data.store import Store
from nuclei.ensemble.saved import read_ensemble
from nuclei.errors import UserError
from nuclei.inference.predict import Voter, average, load
from nuclei.paths import run_folder
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track
from nuclei.submission.encode import write_submission
from nuclei.submission.validate import validate
from nuclei.training.run import finished


def main(cfg: DictConfig) -> None:
    """Predict with every member and fold, average, post-process, encode, validate."""
    start = time.monotonic()
    ensemble = read_ensemble(Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble)
    store = Store(cfg.data.store)
    ids = store.ids("test")
    voters = voters_of(cfg, ensemble)
    steps = [instantiate(step) for step in ensemble["steps"]]
    print(f"{len(voters)} networks on {len(ids)} test images")
    n_nuclei = 0

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal n_nuclei
        for image_id in track(ids, "submission"):
            maps = average(voters, ensemble["channels"], normalise(store.image(image_id)))
            labels = postprocess(maps, ensemble["channels"], steps)
            n_nuclei += int(labels.max(initial=0))
            yield image_id, labels

    path = Path(cfg.paths.submissions) / f"{cfg.name}.csv"
    n_rows = write_submission(path, rows())
    shapes = {i: (store.row(i)["height"], store.row(i)["width"]) for i in ids}
    if violations := validate(path, shapes):
        raise UserError(
            f"{path} is not valid: {violations[0]} ({len(violations)} violations); please report this"
        )
    took = time.monotonic() - start
    print(
        f"wrote {path}: {n_rows} rows, {n_nuclei} nuclei in {len(ids)} images, valid, {took:.0f} s; "
        f"next: ./run.sh validate submission={path} data={cfg.data.name}"
    )


def voters_of(cfg: DictConfig, ensemble: dict[str, Any]) -> list[Voter]:
    """Load every fold of every member that has a weight."""
    voters = []
    for member in (m for m in ensemble["members"] if m["weight"] > 0):
        for fold in range(ensemble["n_folds"]):
            model, name = member["run"].split("/")
            folder = run_folder(cfg.paths.runs, cfg.data.name, model, name, fold)
            voters.append(voter_of(folder, member["weight"] / ensemble["n_folds"], cfg.tta))
    return voters


def voter_of(folder: Path, weight: float, tta: int | None) -> Voter:
    """Load one trained fold.

    Raises:
        UserError: the run is not finished, or its weights are missing or damaged.
    """
    done = finished(folder)
    if done is None:
        raise UserError(f"{folder} is not finished; train it again as the ensemble's other runs were")
    run = json.loads((folder / "config.json").read_text())
    network = instantiate(run["model"]["network"], n_channels=len(run["model"]["channels"]))
    network = load(network, folder / "model.safetensors")
    return Voter(network, run["model"]["channels"], weight, tta or done["tta"], done["diameter"])
