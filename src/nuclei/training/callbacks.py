"""What a run writes while it trains."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from nuclei.atomic import atomic_write


def warm_average(decay: float) -> Callable[..., None]:
    """Moving average of the weights that forgets its start.

    The decay at step n is min(``decay``, (1 + n) / (10 + n)), as in TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``: a fixed one would keep much of the untrained weights in
    runs of a few hundred steps.

    Args:
        decay: 0 keeps the last weights.

    Returns:
        ``multi_avg_fn`` for ``torch.optim.swa_utils.AveragedModel``.
    """

    def average(averaged: list[torch.Tensor], current: list[torch.Tensor], n: torch.Tensor | int) -> None:
        keep = min(decay, (1 + int(n)) / (10 + int(n)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - keep)
        else:  # counters
            torch._foreach_copy_(averaged, current)

    return average


class MetricsTable(L.Callback):
    """Keeps ``metrics.csv``: a row for each epoch; a resumed run goes on in the same table.

    Args:
        path: the file.
        held_out: batches whose mean loss is measured after each epoch, ``val_loss``; None for none.
    """

    COLUMNS = ("epoch", "step", "seconds", "lr", "loss", "val_loss", "mAP")

    def __init__(self, path: str | Path, held_out: Iterable[Any] | None = None) -> None:
        self.path, self.held_out, self.rows = Path(path), held_out, []  # type: ignore[var-annotated]
        self.start = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the rows of the epochs that need not run again; by now a checkpoint has been read."""
        self.rows = [r for r in logged(self.path) if int(r["epoch"]) < trainer.current_epoch]
        self.start = time.monotonic() - spent(self.rows)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the row of this epoch; mAP is empty in epochs without validation."""
        metrics: dict[str, Any] = trainer.callback_metrics  # type: ignore[assignment]
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": f"{time.monotonic() - self.start:.1f}",
            "lr": f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}",
            "loss": f"{float(metrics['loss']):.4f}",
            "val_loss": "" if self.held_out is None else f"{pl_module.mean_loss(self.held_out):.4f}",  # type: ignore[operator]
            "mAP": f"{float(metrics['mAP']):.4f}" if validated and "mAP" in metrics else "",
        }
        self.rows.append(row)
        with atomic_write(self.path) as part, open(part, "w", newline="") as f:
            table = csv.DictWriter(f, self.COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)


def logged(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``; none of what is not trained."""
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def spent(rows: list[dict[str, str]]) -> float:
    """Seconds that the epochs of those rows took, in however many parts."""
    return float(rows[-1]["seconds"]) if rows else 0.0


class PlainProgress(L.Callback):
    """Lines with the time left, for outputs that are no terminal.

    Args:
        every_s: seconds between two lines.
    """

    def __init__(self, every_s: float = 10.0) -> None:
        self.every_s = every_s

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, at the step that a resumed run starts from."""
        self.start = self.last = time.monotonic()
        self.first = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Say how far the run is, now and then."""
        now, total, done = time.monotonic(), int(trainer.estimated_stepping_batches), trainer.global_step
        if now - self.last < self.every_s or done <= self.first:
            return
        self.last = now
        left = (now - self.start) / (done - self.first) * (total - done)
        where = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, step {done}/{total}"
        print(f"train: {where}, {left:.0f} s left", file=sys.stderr, flush=True)
