"""Train one network with Lightning's Trainer, so that a killed run resumes bit for bit.

The callbacks average the weights, keep the table of metrics, seed each step and print lines of progress.
"""

from __future__ import annotations

import csv
import ctypes
import io
import logging
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import numpy as np
import safetensors.torch
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn
from torch.optim.swa_utils import update_bn

from nuclei.atomic import atomic_write
from nuclei.data.datamodule import NucleiData
from nuclei.data.store import ZIP_ERRORS
from nuclei.errors import UserError
from nuclei.inference.predict_maps import has_bf16
from nuclei.models.base import SegmentationNetwork
from nuclei.training.module import Batch, Segmentation

STATISTICS_CROPS = 256
"""Number of training crops from which the statistics of batch normalisation are estimated."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``, as ``malloc.h`` numbers them."""
LEAST_SHARE = 0.75
"""Share of the weights that must fit for a training to start from another network: its encoder is enough."""


def fit(
    module: Segmentation,
    data: NucleiData,
    folder: str | Path,
    ema_decay: float,
    callbacks: Sequence[Callback] = (),
    **trainer: Any,
) -> SegmentationNetwork:
    """Train ``module`` on ``data``, going on from ``folder/last.ckpt`` where there is one.

    Args:
        folder: takes ``last.ckpt``, ``metrics.csv`` and ``tensorboard/``.
        ema_decay: highest decay of the moving average of the weights; see ``warm_average``.
        callbacks: added to those that write these files.
        **trainer: arguments of Lightning's Trainer.

    Returns:
        The module's network with its averaged weights, in eval mode; where several processes train together,
        the first one's is the one to keep.

    Raises:
        UserError: the checkpoint is damaged, or a loader worker died.
    """
    folder = Path(folder)
    checkpoint = folder / "last.ckpt"
    _quiet()
    averaging = WeightAveraging(multi_avg_fn=warm_average(ema_decay))
    run = _trainer(data, folder, averaging, callbacks, trainer)
    begun = checkpoint.exists()
    if begun:
        check_checkpoint(checkpoint)
        if run.is_global_zero:
            print(f"going on from {checkpoint}", file=sys.stderr)
    try:
        run.fit(module, data, ckpt_path=str(checkpoint) if begun else None, weights_only=True)
    except UnpicklingError as e:
        raise UserError(f"{checkpoint} holds more than numbers; delete it to train from the start") from e
    except RuntimeError as e:
        if "DataLoader worker" in str(e):
            raise UserError(f"{str(e).splitlines()[0]}; num_workers=0 loads in the main process") from e
        raise
    except OSError as e:
        advice = "free some space, or choose paths.runs=FOLDER; the same command then goes on"
        raise UserError(f"cannot write {folder}: {e.strerror or e}; {advice}") from e
    if run.interrupted:
        raise KeyboardInterrupt
    averaging.on_train_end(run, module)  # not called where a resumed training has nothing left to do
    if run.is_global_zero:
        estimate_statistics(module, data, run.precision_plugin.forward_context)
    return module.network.eval()


def _trainer(
    data: NucleiData, folder: Path, averaging: Callback, callbacks: Sequence[Callback], arguments: Any
) -> L.Trainer:
    """Return Lightning's Trainer, which writes into ``folder``."""
    last = ModelCheckpoint(
        folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    return L.Trainer(
        use_distributed_sampler=False,  # the data module shares the samples out
        sync_batchnorm=torch.cuda.is_available(),  # on several devices; PyTorch has none for CPUs
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=[
            SeededSteps(data.seed),
            FiniteLoss(data.step_ids),
            averaging,
            last,
            MetricsTable(folder / "metrics.csv", data.held_out_crops()),
            TQDMProgressBar() if sys.stderr.isatty() else PlainProgress(),
            *callbacks,
        ],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[WholeCheckpoints()],
        **arguments,
    )


def estimate_statistics(
    module: Segmentation, data: NucleiData, context: Callable[[], AbstractContextManager[None]]
) -> None:
    """Estimate the statistics of batch normalisation anew, for the averaged weights, from training crops.

    Running means of a short training, and means of averaged weights, are those of other weights.
    """
    with context():
        batches = islice(data.crop_batches(), max(1, STATISTICS_CROPS // data.batch_size))
        update_bn((module.scale(images) for images, *_ in batches), module.network)


def seed(number: int) -> None:
    """Seed all random generators, so that the same number gives the same checkpoint."""
    L.seed_everything(number, workers=True, verbose=False)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step, where it is glibc.

    Otherwise each large tensor's pages go back to the system and are cleared anew, which costs a few percent
    of a step on CPUs (``docs/speed.md``). Called before the first tensors are made; later it gains nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def precision(setting: str) -> str:
    """Return Lightning's precision for a setting.

    ``auto`` is bf16-mixed where the hardware multiplies bfloat16, else 16-mixed on a GPU, 32-true on a CPU.
    """
    if setting != "auto":
        return setting
    if has_bf16():
        return "bf16-mixed"
    return "16-mixed" if torch.cuda.is_available() else "32-true"


def _quiet() -> None:
    """Silence Lightning's advice on workers, intervals and hardware, which this project has settled."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("lightning.*", "torch.optim.lr_scheduler"):
        warnings.filterwarnings("ignore", module=module)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors, whole."""
    with atomic_write(path) as part:
        part.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()}))


def start_from(network: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Put those weights into a network that fit by name and shape; the others begin anew.

    The last layer does not fit where the other network gave other maps, nor does a decoder of another
    architecture. ``source`` is where the weights come from.

    Raises:
        UserError: less than ``LEAST_SHARE`` of the network's weights fit.
    """
    state = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in state and v.shape == state[k].shape}
    share = sum(v.numel() for v in fitting.values()) / max(sum(v.numel() for v in state.values()), 1)
    if share < LEAST_SHARE:
        raise UserError(
            f"{source} is of another network: {share:.0%} of the weights fit; choose another init"
        )
    network.load_state_dict(fitting, strict=False)
    if anew := sorted({".".join(name.split(".")[:2]) for name in state.keys() - fitting.keys()}):
        print(
            f"{len(fitting)} of {len(state)} tensors from {source}; anew: {', '.join(anew)}", file=sys.stderr
        )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the last one and renames it, so that one of the two is whole at any time.

    Lightning's own goes through the folder of temporary files, and is copied where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to ``path``; ``storage_options`` are not used."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_write(path) as part:
            part.write_bytes(buffer.getbuffer())


def check_checkpoint(path: Path) -> None:
    """Check that a checkpoint is whole, by the CRC-32s of the zip file that it is.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as z:
            damaged = z.testzip()
    except ZIP_ERRORS:
        damaged = "its directory"
    if damaged:
        raise UserError(f"{path} is damaged at {damaged}; delete it to train this fold from its start")


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
