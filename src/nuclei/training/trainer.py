"""Train one network with Lightning's Trainer: resumable, repeatable."""

from __future__ import annotations

import logging
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import safetensors.torch
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors import SafetensorError
from torch import nn

from nuclei.atomic import atomic_write
from nuclei.data.datamodule import NucleiData
from nuclei.errors import UserError
from nuclei.inference.predict_maps import has_bf16
from nuclei.training.callbacks import MetricsTable, PlainProgress, warm_average
from nuclei.training.module import Segmentation


def fit(
    module: Segmentation,
    data: NucleiData,
    folder: str | Path,
    ema_decay: float,
    callbacks: Sequence[Callback] = (),
    **trainer: Any,
) -> nn.Module:
    """Train ``module`` on ``data``, going on from ``folder/last.ckpt`` where there is one.

    Args:
        module: network, loss, optimizer.
        data: the loaders of one fold.
        folder: takes ``last.ckpt``, ``metrics.csv`` and ``tensorboard/``.
        ema_decay: highest decay of the moving average of the weights; see ``warm_average``.
        callbacks: more of them.
        **trainer: arguments of Lightning's Trainer.

    Returns:
        The network with its averaged weights, in eval mode.

    Raises:
        UserError: the checkpoint is damaged, or a loader worker died.
    """
    folder = Path(folder)
    _quiet()
    bar: Callback = TQDMProgressBar() if sys.stderr.isatty() else PlainProgress()
    run = L.Trainer(
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=[
            WeightAveraging(multi_avg_fn=warm_average(ema_decay)),
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
        **trainer,
    )
    checkpoint = folder / "last.ckpt"
    if checkpoint.exists():
        _check(checkpoint)
        print(f"going on from {checkpoint}", file=sys.stderr)
    try:
        run.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=False)
    except RuntimeError as e:
        if "DataLoader worker" in str(e):
            raise UserError(f"{str(e).splitlines()[0]}; num_workers=0 loads in the main process") from e
        raise
    except OSError as e:
        advice = "free some space, or choose paths.runs=FOLDER; the same command then goes on"
        raise UserError(f"cannot write {folder}: {e.strerror or e}; {advice}") from e
    if run.interrupted:
        raise KeyboardInterrupt
    return module.network.eval()


def seed(number: int) -> None:
    """Seed everything random, so that the same number gives the same checkpoint."""
    L.seed_everything(number, workers=True, verbose=False)


def precision(wanted: str) -> str:
    """``auto`` is bf16-mixed where the hardware multiplies bfloat16; else 16-mixed, on a CPU 32-true."""
    if wanted != "auto":
        return wanted
    if has_bf16():
        return "bf16-mixed"
    return "16-mixed" if torch.cuda.is_available() else "32-true"


def save_weights(network: nn.Module, path: Path) -> None:
    """Keep a network's weights as safetensors, whole."""
    with atomic_write(path) as part:
        part.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()}))


def start_from(network: nn.Module, weights: Path) -> None:
    """Put those weights of a file into a network that fit it by name and shape; the others begin anew.

    Another run's last layer does not fit when its maps are others. A first layer for images of three planes
    takes the weights of one for a single plane, and zeros for the two others: it starts as the same function.

    Raises:
        UserError: the file is missing or damaged, or less than 90 % of the network's weights fit.
    """
    try:
        found = safetensors.torch.load_file(weights)
    except (OSError, SafetensorError) as e:
        raise UserError(f"cannot read {weights} ({e}); delete {weights.parent} and train it again") from e
    own = network.state_dict()
    found = {k: widened(v, own[k].shape) if k in own else v for k, v in found.items()}
    fit = {k: v for k, v in found.items() if k in own and v.shape == own[k].shape}
    share = sum(v.numel() for v in fit.values()) / max(sum(v.numel() for v in own.values()), 1)
    if share < 0.9:
        raise UserError(
            f"{weights} is of another network: {share:.0%} of the weights fit; choose another init"
        )
    network.load_state_dict(fit, strict=False)
    if anew := sorted(own.keys() - fit.keys()):
        print(f"{len(fit)} of {len(own)} tensors from {weights}; anew: {', '.join(anew)}", file=sys.stderr)


def widened(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The weight of a convolution ``(F, 1, ...)`` as one of ``shape`` ``(F, 3, ...)``; any other as it is."""
    if weight.ndim != 4 or weight.shape[1] != 1 or shape[1:2] != (3,):
        return weight
    return torch.cat([weight, torch.zeros_like(weight).repeat(1, 2, 1, 1)], dim=1)


def _check(checkpoint: Path) -> None:
    """A checkpoint is a zip: its CRC-32s say whether it is whole."""
    try:
        with zipfile.ZipFile(checkpoint) as z:
            damaged = z.testzip()
    except zipfile.BadZipFile:
        damaged = "its directory"
    if damaged:
        raise UserError(f"{checkpoint} is damaged at {damaged}; delete it to train this fold from its start")


def _quiet() -> None:
    """Lightning's advice on workers, intervals and hardware is no news to the user here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
