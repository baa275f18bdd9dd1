"""``./run.sh train``: one model on one fold, then its out-of-fold maps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nuclei.commands._steps import ensure_data
from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.intensity import normalise
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.inference.maps import predict, write_maps
from nuclei.metrics import average_precision
from nuclei.paths import run_folder
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track
from nuclei.training import run

# What changes nothing in the maps; the data set's name is in the path.
FREE = ("paths", "num_workers", "postprocess", "data")


def main(cfg: DictConfig) -> None:
    """Train, predict the held-out images, keep their maps; go on where a killed run stopped."""
    ensure_data(cfg)
    folder = run_folder(cfg.paths.runs, cfg.data.name, cfg.model.name, cfg.name, cfg.fold)
    with run.locked(folder):
        settings = OmegaConf.to_container(cfg, resolve=True) | {"folds_sha256": folds_sha256(cfg.data.folds)}  # type: ignore[operator]
        run.claim(folder, settings, FREE)
        done = run.finished(folder)
        if done is None:
            done = train(cfg, folder)
            run.finish(folder, done)
            verb = "wrote"
        else:
            verb = "finished before:"
    score = f"out-of-fold mAP {done['mAP']:.4f} on {done['images']} images, {done['seconds']:.0f} s"
    print(f"{verb} {folder}; {score}; next: ./run.sh ensemble data={cfg.data.name}")


def train(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """The wiring: data, network, training, out-of-fold maps, score."""
    import torch

    from nuclei.data.datamodule import NucleiData
    from nuclei.training.module import Segmentation
    from nuclei.training.train import fit, precision, save_weights, seed

    start = time.monotonic()
    seed(cfg.seed)
    store, rows = Store(cfg.data.store), read_folds(cfg.data.folds)
    held_out = [r["ImageId"] for r in rows if r["fold"] == cfg.fold]
    others = [r["ImageId"] for r in rows if r["fold"] != cfg.fold]
    if not held_out:
        raise UserError(
            f"fold={cfg.fold}: expected 0 to {max(r['fold'] for r in rows)}, as in {cfg.data.folds}"
        )
    channels, bf16 = list(cfg.model.channels), precision(cfg.trainer.precision).startswith("bf16")
    network = instantiate(cfg.model.network, n_channels=len(channels))
    steps = [instantiate(step) for step in cfg.postprocess.steps]

    def labels_of(maps: np.ndarray) -> np.ndarray:
        return postprocess(maps, channels, steps)

    if any(True for _ in network.parameters()):  # Otsu has nothing to train
        module = Segmentation(
            network, instantiate(cfg.loss), instantiate(cfg.optimizer), cfg.warmup, labels_of, bf16
        )
        crops = instantiate(cfg.augment)
        data = NucleiData(
            store, others, held_out, crops, cfg.batch_size, cfg.samples_per_epoch, cfg.num_workers, cfg.seed
        )
        trainer = OmegaConf.to_container(cfg.trainer, resolve=True) | {
            "precision": precision(cfg.trainer.precision)
        }  # type: ignore[operator]
        network = fit(module, data, folder, cfg.ema_decay, **trainer)
        save_weights(network, folder / "model.safetensors")
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    scores: list[float] = []

    def maps_of_fold() -> Iterator[tuple[str, np.ndarray]]:
        for image_id in track(held_out, f"predict fold {cfg.fold}"):
            maps = predict(network, normalise(store.image(image_id)), cfg.tta, bf16)
            scores.append(average_precision(store.labels(image_id), labels_of(maps)))
            yield image_id, maps

    write_maps(folder / "oof.npz", channels, folds_sha256(cfg.data.folds), maps_of_fold())
    return {"images": len(held_out), "mAP": float(np.mean(scores)), "seconds": time.monotonic() - start}
