"""Train a network on all folds but one, and keep its maps of the held-out images."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from nuclei.data.datamodule import NucleiData
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.inference.model_file import read_model_file
from nuclei.inference.predict_maps import write_maps
from nuclei.inference.segmenter import WeightedNetwork, check_views, load_weights
from nuclei.metrics import average_precision
from nuclei.models.base import SegmentationNetwork
from nuclei.paths import FoldFolder, RunName
from nuclei.postprocess.pipeline import Step, postprocess
from nuclei.progress import track
from nuclei.training.module import Segmentation
from nuclei.training.run_folder import RunResult, checked_weights, read_result, read_settings
from nuclei.training.trainer import (
    fit,
    keep_freed_memory,
    precision,
    read_metrics,
    save_weights,
    seed,
    start_from,
    training_seconds,
)

InitialWeights = tuple[RunName, FoldFolder] | Path
"""What a training starts from: a finished fold, by its run's name and its folder, or a model file."""


@dataclass(frozen=True)
class FoldTraining:
    """Everything that one training depends on.

    Attributes:
        run, folder: name of the run, and the folder of the fold.
        store: the images.
        train_ids, held_out: ImageIds to train on, and to predict afterwards.
        folds_sha256: hash of the folds file.
        channels: names of the maps that the network learns.
        steps: post-processing with which the held-out images are scored.
        build_network, build_loss: called after the random numbers are seeded.
        optimizer: takes the parameters and returns the optimizer.
        augment: random changes of the training crops.
        crop: side of the training crops in pixels.
        seed: of all random numbers.
        init: what training starts from; None for new weights.
        batch_size, samples_per_epoch: number of crops.
        num_workers: loader processes; None for one per core where a GPU waits for data, else none.
        val_crops: number of held-out crops whose loss is measured after each epoch.
        schedule, warmup, ema_decay: see ``Segmentation`` and ``fit``.
        trainer: arguments of Lightning's Trainer.
        tta, diameter, scales: how held-out images are predicted; see ``WeightedNetwork``.

    Raises:
        UserError: held-out images cannot be predicted so, or there is no epoch.
    """

    run: RunName
    folder: FoldFolder
    store: Store
    train_ids: Sequence[str]
    held_out: Sequence[str]
    folds_sha256: str
    channels: Sequence[str]
    steps: Sequence[Step]
    build_network: Callable[[], SegmentationNetwork]
    build_loss: Callable[[], Any]
    optimizer: Callable[..., torch.optim.Optimizer]
    augment: Any
    crop: int
    seed: int
    batch_size: int
    samples_per_epoch: int
    num_workers: int | None
    val_crops: int
    schedule: str
    warmup: float
    ema_decay: float
    tta: int
    diameter: float | None
    scales: tuple[float, ...]
    init: InitialWeights | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_views(self.tta, self.diameter, self.scales)
        if (epochs := self.trainer.get("max_epochs", 1)) < 1:
            raise UserError(f"trainer.max_epochs={epochs}: expected 1 or more")

    def labels(self, maps: np.ndarray) -> np.ndarray:
        """Return the label map of maps."""
        return postprocess(maps, self.channels, self.steps)


def train_fold(training: FoldTraining, first: bool = True) -> RunResult | None:
    """Train, predict the held-out images, and keep their maps.

    A fold whose weights are there is only predicted, and a training that was killed goes on. ``first`` is the
    first of the processes that train together, which alone writes, predicts and returns a result.

    Raises:
        UserError: settings that do not fit one another, a damaged file, or a full disk.
    """
    gc.collect()  # in a sweep, the run before left its network in a ring of references
    keep_freed_memory()
    seed(training.seed)
    network, weights = training.build_network(), training.folder.weights
    if not weights.exists() and any(True for _ in network.parameters()):  # Otsu has nothing to train
        if isinstance(training.init, Path):
            start_from(network, read_model_file(training.init).tensors(), str(training.init))
        elif training.init is not None:
            path = _initial_weights(training, *training.init)
            start_from(network, safetensors.torch.load_file(path), str(path))
        _fit(training, network, first)
    if not first:
        return None
    start = time.monotonic() - training_seconds(read_metrics(training.folder.metrics))
    images, score = len(training.held_out), None
    if images:
        score = _predict_held_out(training, load_weights(network, weights))
    seconds = time.monotonic() - start
    return RunResult(images, score, seconds, training.tta, training.diameter, training.scales)


def _predict_held_out(training: FoldTraining, network: SegmentationNetwork) -> float:
    """Write the maps of the held-out images, and return their mean average precision."""
    predictor = WeightedNetwork(
        network, training.channels, 1.0, training.tta, training.diameter, training.scales
    )
    scores: list[float] = []

    def maps() -> Iterator[tuple[str, np.ndarray]]:
        for image_id in track(training.held_out, f"predict {training.folder.path.name}"):
            image_maps = predictor.maps(training.store.image(image_id))
            truth = training.store.labels(image_id)
            scores.append(average_precision(truth, training.labels(image_maps)))
            yield image_id, image_maps

    hashes = training.folds_sha256, training.store.sha256
    write_maps(training.folder.maps, training.channels, *hashes, maps())
    return float(np.mean(scores))


def _initial_weights(training: FoldTraining, run: RunName, folder: FoldFolder) -> Path:
    """Return the weights of the same fold of another run; other folds' have seen the held-out images."""
    if read_result(folder) is None:
        number = folder.path.name.removeprefix("fold")
        raise UserError(f"init={run}: expected MODEL/NAME, a run whose fold {number} is finished")
    if read_settings(folder).folds_sha256 != training.folds_sha256:
        raise UserError(f"init={run} was trained on another folds file: it has seen held-out images")
    return checked_weights(folder)


def loader_processes(wanted: int | None) -> int:
    """Return the number of loader processes: as wanted, else one for each core where a GPU waits for data."""
    if wanted is not None:
        return wanted
    return min(16, os.cpu_count() or 1) if torch.cuda.is_available() else 0


def _fit(training: FoldTraining, network: SegmentationNetwork, first: bool) -> None:
    """Train ``network``; the first process keeps its averaged weights."""
    if training.samples_per_epoch < training.batch_size:
        raise UserError(
            f"samples_per_epoch={training.samples_per_epoch}: expected at least one step, "
            f"batch_size={training.batch_size}"
        )
    network.check_crop(training.crop)
    loss = training.build_loss()
    if network.activation != loss.activation:
        fitting = "cross_entropy" if network.activation == "softmax" else "bce, bce_dice or another of maps"
        raise UserError(f"model={training.run.model} ends in {network.activation}: choose loss={fitting}")
    module = Segmentation(
        network, loss, training.optimizer, training.schedule, training.warmup, training.labels
    )
    data = NucleiData(
        training.store,
        list(training.train_ids),
        list(training.held_out),
        training.augment,
        batch_size=training.batch_size,
        samples_per_epoch=training.samples_per_epoch,
        num_workers=loader_processes(training.num_workers),
        seed=training.seed,
        preprocessing=network.preprocessing,
        channels=[*training.channels, *loss.extra_channels],
        val_crops=training.val_crops,
    )
    trainer = {**training.trainer, "precision": precision(training.trainer["precision"])}
    network = fit(module, data, training.folder.path, training.ema_decay, **trainer)
    if first:
        save_weights(network, training.folder.weights)
