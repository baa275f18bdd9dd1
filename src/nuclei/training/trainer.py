"""Train one network with Lightning's Trainer, so that a killed run resumes bit for bit."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim.swa_utils import update_bn

from nuclei.data.datamodule import NucleiData
from nuclei.errors import UserError
from nuclei.inference.predict_maps import has_bf16
from nuclei.models.base import SegmentationNetwork
from nuclei.training.callbacks import FiniteLoss, MetricsTable, PlainProgress, SeededSteps, warm_average
from nuclei.training.checkpoints import WholeCheckpoints, check_checkpoint
from nuclei.training.module import Segmentation

STATISTICS_CROPS = 256
"""Number of training crops from which the statistics of batch normalisation are estimated."""


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
        module: network, loss, optimizer.
        data: the loaders of one fold.
        folder: takes ``last.ckpt``, ``metrics.csv`` and ``tensorboard/``.
        ema_decay: highest decay of the moving average of the weights; see ``warm_average``.
        callbacks: added to those that write these files.
        **trainer: arguments of Lightning's Trainer.

    Returns:
        The module's network with its averaged weights, in eval mode.

    Raises:
        UserError: the checkpoint is damaged, or a loader worker died.
    """
    folder = Path(folder)
    _quiet()
    bar: Callback = TQDMProgressBar() if sys.stderr.isatty() else PlainProgress()
    averaging = WeightAveraging(multi_avg_fn=warm_average(ema_decay))
    run = L.Trainer(
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=[
            SeededSteps(data.seed),
            FiniteLoss(data.step_ids),
            averaging,
            ModelCheckpoint(
                folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
            ),
            MetricsTable(folder / "metrics.csv", data.held_out_crops()),
            bar,
            *callbacks,
        ],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[WholeCheckpoints()],
        **trainer,
    )
    checkpoint = folder / "last.ckpt"
    if checkpoint.exists():
        check_checkpoint(checkpoint)
        print(f"going on from {checkpoint}", file=sys.stderr)
    try:
        run.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True)
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
    estimate_statistics(module, data, run.precision_plugin.forward_context)
    return module.network.eval()


def estimate_statistics(
    module: Segmentation, data: NucleiData, context: Callable[[], AbstractContextManager[None]]
) -> None:
    """Estimate the statistics of batch normalisation anew, for the averaged weights, from training crops.

    Running means of a short training, and means of averaged weights, are those of other weights.
    """
    with context():
        batches = islice(data.train_dataloader(), max(1, STATISTICS_CROPS // data.batch_size))
        update_bn((module.scale(images) for images, *_ in batches), module.network)


def seed(number: int) -> None:
    """Seed all random generators, so that the same number gives the same checkpoint."""
    L.seed_everything(number, workers=True, verbose=False)


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
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
