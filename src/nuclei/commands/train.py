"""``./run.sh train``: one model on one fold, then its out-of-fold maps."""

from __future__ import annotations

import gc
import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from nuclei.build import as_tree as plain
from nuclei.build import build, build_network, build_paths, build_steps
from nuclei.call import Call
from nuclei.commands._compose import has_gpu, small_budget
from nuclei.commands._steps import ensure_data
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.metrics import average_precision
from nuclei.paths import FoldFolder, RunName
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track
from nuclei.training import run_folder as run
from nuclei.training.run_folder import RunResult

if TYPE_CHECKING:
    from nuclei.models.base import SegmentationNetwork

# What changes nothing in the weights; the data set's name is in the path.
SEEN = ("tta", "diameter", "scales")  # how the held-out images are predicted
FREE = ("paths", "num_workers", "val_crops", "postprocess", "data", "trainer.devices", *SEEN)


def main(cfg: DictConfig, call: Call) -> None:
    """Train, predict the held-out images, keep their maps; go on where a killed run stopped."""
    ensure_data(cfg, call)
    rows, sha256 = read_folds(cfg.data.folds), folds_sha256(cfg.data.folds)
    if cfg.fold != "all" and cfg.fold not in {row.fold for row in rows}:
        last = max(row.fold for row in rows)
        raise UserError(f"fold={cfg.fold}: expected 0 to {last}, the folds in {cfg.data.folds}, or all")
    folder = folder_of(cfg, cfg.fold)
    with run.locked(folder):
        run.claim(folder, plain(cfg) | {"folds_sha256": sha256}, FREE)
        done, verb = run.read_result(folder), "finished before:"
        if done is None or (done.tta, done.diameter, done.scales) != (
            cfg.tta,
            cfg.diameter,
            tuple(cfg.scales),
        ):
            done, verb = train(cfg, folder, rows, sha256), "wrote"
            run.write_result(folder, done)
    print(f"{verb} {folder}; {done.summary}, {done.seconds:.0f} s; next: {following(cfg, call, rows)}")


def folder_of(cfg: DictConfig, fold: int | str) -> FoldFolder:
    """Return the folder of a fold of this run."""
    return build_paths(cfg).fold(RunName(cfg.model.name, cfg.name), fold)


def channels_of(cfg: DictConfig) -> list[str]:
    """The maps that the model learns; a model of classes takes them from the data."""
    if cfg.model.channels is None:
        raise UserError(
            f"model={cfg.model.name}: data={cfg.data.name} tells no classes apart; "
            "choose data=demo or data=consep"
        )
    return list(cfg.model.channels)


def following(cfg: DictConfig, call: Call, rows: list[FoldRow]) -> str:
    """The command for the first fold that is not finished, or for the ensemble."""
    for fold in sorted({row.fold for row in rows}):
        if run.read_result(folder_of(cfg, fold)) is None:
            chosen = [f"data={cfg.data.name}", f"model={cfg.model.name}", f"name={cfg.name}"]
            return " ".join(["./run.sh", f"fold={fold}", *chosen, *map(shlex.quote, asked(cfg, call))])
    return f"./run.sh ensemble data={cfg.data.name}"


def asked(cfg: DictConfig, call: Call) -> list[str]:
    """The other settings as typed, but for those that a machine without a GPU chooses by itself."""
    less = cfg.data.get("without_gpu")
    own = {f"{k}={v}" for k, v in small_budget(less).items()} if less and not has_gpu() else set()
    words = call.overrides if call.command == "train" else ()
    return [w for w in words if w not in own and w.partition("=")[0] not in ("fold", "data", "model", "name")]


def train(cfg: DictConfig, folder: FoldFolder, rows: list[FoldRow], sha256: str) -> RunResult:
    """The wiring: network, training, out-of-fold maps, score."""
    from nuclei.inference.predict_maps import write_maps
    from nuclei.inference.segmenter import WeightedNetwork, load_weights
    from nuclei.training.callbacks import read_metrics, training_seconds
    from nuclei.training.checkpoints import start_from
    from nuclei.training.trainer import seed

    gc.collect()  # in a sweep, the run before left its network in a ring of references
    seed(cfg.seed)
    store, channels = Store(cfg.data.store), channels_of(cfg)
    held_out = [row.image_id for row in rows if row.fold == cfg.fold]
    others = [row.image_id for row in rows if row.fold != cfg.fold]
    steps = build_steps(cfg.postprocess.steps)

    def labels_of(maps: np.ndarray) -> np.ndarray:
        return postprocess(maps, channels, steps)

    network = build_network(cfg.model.network, channels)
    weights = folder.weights
    if not weights.exists() and any(True for _ in network.parameters()):  # Otsu has nothing to train
        if cfg.init is not None:
            start_from(network, weights_of(cfg, sha256))
        fit_network(cfg, weights, network, store, others, held_out, labels_of)
    start = time.monotonic() - training_seconds(read_metrics(folder.metrics))
    tta, diameter, scales = cfg.tta, cfg.diameter, tuple(cfg.scales)
    if not held_out:
        return RunResult(0, None, time.monotonic() - start, tta, diameter, scales)
    member = WeightedNetwork(load_weights(network, weights), channels, 1.0, tta, diameter, scales)
    scores: list[float] = []

    def maps_of_fold() -> Iterator[tuple[str, np.ndarray]]:
        for image_id in track(held_out, f"predict fold {cfg.fold}"):
            maps = member.maps(store.image(image_id))
            scores.append(average_precision(store.labels(image_id), labels_of(maps)))
            yield image_id, maps

    write_maps(folder.maps, channels, sha256, maps_of_fold())
    took = time.monotonic() - start
    return RunResult(len(held_out), float(np.mean(scores)), took, tta, diameter, scales)


def loaders(wanted: int | None) -> int:
    """Loader processes: as many as wanted, or one for each core where a GPU waits for data."""
    import torch

    if wanted is not None:
        return wanted
    return min(16, os.cpu_count() or 1) if torch.cuda.is_available() else 0


def weights_of(cfg: DictConfig, sha256: str) -> Path:
    """The weights of the same fold of ``cfg.init``; another fold's have seen the held-out images."""
    folder = build_paths(cfg).fold(RunName.parse(cfg.init, "init"), cfg.fold)
    if run.read_result(folder) is None:
        raise UserError(f"init={cfg.init}: expected MODEL/NAME, a run whose fold {cfg.fold} is finished")
    if run.read_settings(folder).folds_sha256 != sha256:
        raise UserError(f"init={cfg.init} was trained on another folds file: it has seen held-out images")
    return folder.weights


def fit_network(
    cfg: DictConfig,
    weights: Path,
    network: SegmentationNetwork,
    store: Store,
    train_ids: list[str],
    val_ids: list[str],
    labels_of: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Train ``network`` and keep its averaged weights."""
    from nuclei.data.datamodule import NucleiData
    from nuclei.training.checkpoints import save_weights
    from nuclei.training.module import Segmentation
    from nuclei.training.trainer import fit, precision

    if cfg.samples_per_epoch < cfg.batch_size:
        raise UserError(
            f"samples_per_epoch={cfg.samples_per_epoch}: expected at least one step, "
            f"batch_size={cfg.batch_size}"
        )
    trainer = plain(cfg.trainer) | {"precision": precision(cfg.trainer.precision)}
    network.check_crop(cfg.augment.crop)
    loss = build(cfg.loss)
    if network.activation != loss.activation:
        fitting = "cross_entropy" if network.activation == "softmax" else "bce, bce_dice or another of maps"
        raise UserError(f"model={cfg.model.name} ends in {network.activation}: choose loss={fitting}")
    module = Segmentation(network, loss, build(cfg.optimizer), cfg.schedule, cfg.warmup, labels_of)
    data = NucleiData(
        store,
        train_ids,
        val_ids,
        build(cfg.augment),
        batch_size=cfg.batch_size,
        samples_per_epoch=cfg.samples_per_epoch,
        num_workers=loaders(cfg.num_workers),
        seed=cfg.seed,
        preprocessing=network.preprocessing,
        channels=[*channels_of(cfg), *loss.extra_channels],
        val_crops=cfg.val_crops,
    )
    save_weights(fit(module, data, weights.parent, cfg.ema_decay, **trainer), weights)
