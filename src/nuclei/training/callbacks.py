"""Callbacks of a training: average of the weights, table of metrics, lines of progress."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.training.module import Batch, Segmentation


def warm_average(decay: float) -> Callable[..., None]:
    """Return a moving average of the weights that forgets its start.

    The decay at step n is min(``decay``, (1 + n) / (10 + n)), as in TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``: a fixed one would keep much of the untrained weights in
    runs of a few hundred steps. A decay of 0 keeps the last weights. The result is the ``multi_avg_fn`` of
    ``torch.optim.swa_utils.AveragedModel``.
    """

    def average(averaged: list[torch.Tensor], current: list[torch.Tensor], n: torch.Tensor | int) -> None:
        keep = min(decay, (1 + int(n)) / (10 + int(n)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - keep)
        else:  # counters
            torch._foreach_copy_(averaged, current)

    return average


class MetricsTable(L.Callback):
    """Keeps ``metrics.csv``: a line for each epoch; a resumed run goes on in the same table.

    Lightning's ``CSVLogger`` starts the file anew when a run resumes, and gives each call of ``log`` a line.
    Batches of ``held_out`` are scored after each epoch, for the columns ``val_…``.
    """

    COLUMNS = ("epoch", "step", "seconds", "lr", "loss", "val_loss", "val_accuracy", "val_iou", "mAP")

    def __init__(self, path: str | Path, held_out: Iterable[Batch] | None = None) -> None:
        self.path, self.held_out = Path(path), held_out
        self.lines: list[dict[str, str]] = []
        self.start = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the lines of the epochs that need not run again; by now a checkpoint has been read."""
        self.lines = [line for line in read_metrics(self.path) if int(line["epoch"]) < trainer.current_epoch]
        self.start = time.monotonic() - training_seconds(self.lines)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the line of this epoch; mAP is empty in epochs without validation."""
        assert isinstance(pl_module, Segmentation)
        metrics = trainer.callback_metrics  # in each process, as they exchange what they have
        if not trainer.is_global_zero:
            return
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        held_out: tuple[str, ...] = ("", "", "")
        if self.held_out is not None:
            held_out = tuple(f"{score:.4f}" for score in pl_module.held_out_scores(self.held_out))
        values = (
            str(trainer.current_epoch),
            str(trainer.global_step),
            f"{time.monotonic() - self.start:.1f}",
            f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}",
            f"{float(metrics['loss']):.4f}",
            *held_out,
            f"{float(metrics['mAP']):.4f}" if validated and "mAP" in metrics else "",
        )
        self.lines.append(dict(zip(self.COLUMNS, values, strict=True)))
        with atomic_write(self.path) as part, open(part, "w", newline="") as f:
            table = csv.DictWriter(f, self.COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(self.lines)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the lines of a ``metrics.csv``, each by column; none where the file is missing."""
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def training_seconds(lines: list[dict[str, str]]) -> float:
    """Return the seconds that the epochs of a ``metrics.csv`` took, in however many parts."""
    return float(lines[-1]["seconds"]) if lines else 0.0


class SeededSteps(L.Callback):
    """Seeds each step by its number, so that dropout is the same when a run resumes.

    To seed an epoch is not enough: between its start and its first step a resumed run draws other random
    numbers than one that was not stopped.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Seed torch's generators, each process's by its rank; crops depend on their number alone anyway."""
        numbers = (self.seed, trainer.global_step, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


class FiniteLoss(L.Callback):
    """Stops a training whose loss is no number, before a step is made or a checkpoint written with it.

    ``step_ids`` gives the ImageIds of the crops of a step.
    """

    def __init__(self, step_ids: Callable[[int], list[str]]) -> None:
        self.step_ids = step_ids

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor
    ) -> None:
        """Raise a UserError that names the images of the batch."""
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss of step {trainer.global_step + 1} is {float(loss)}, on crops of "
                f"{', '.join(self.step_ids(trainer.global_step))}; look at these images, or choose a lower "
                "optimizer.lr; the last checkpoint is kept"
            )


class PlainProgress(L.Callback):
    """Prints lines with the time left, ``EVERY_S`` seconds apart, where the output is no terminal."""

    EVERY_S = 10.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, at the step that a resumed run starts from."""
        self.start = self.last = time.monotonic()
        self.first = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Print how far the run is."""
        now, total, step = time.monotonic(), int(trainer.estimated_stepping_batches), trainer.global_step
        if now - self.last < self.EVERY_S or step <= self.first or not trainer.is_global_zero:
            return
        self.last = now
        left = (now - self.start) / (step - self.first) * (total - step)
        where = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, step {step}/{total}"
        print(f"train: {where}, {left:.0f} s left", file=sys.stderr, flush=True)
