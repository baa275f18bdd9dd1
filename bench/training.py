"""Steps per second of `./run.sh fold=0` against a bare PyTorch loop over tensors that lie in memory.

    python bench/training.py [STEPS] [--give-memory-back] [KEY=VALUE ...]

Both train the same network with the same loss, optimizer and precision on batches of one size, in turn, five
times; the road also loads, augments, logs, averages weights, steps the schedule. Settings are those of train.
``--give-memory-back`` leaves out ``keep_freed_memory``, to see what it is worth.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from nuclei.data.datamodule import Crops, NucleiData
from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS
from nuclei.training.module import Segmentation
from nuclei.training.train_fold import loader_processes
from nuclei.training.trainer import fit, keep_freed_memory, precision

HERE = Path(__file__).parents[1]
WARM = 3  # steps that are not timed


class Clock(Callback):
    """Takes the time between two steps of a run of Lightning's Trainer."""

    def __init__(self, steps: int) -> None:
        self.steps, self.begin, self.took = steps, 0.0, 0.0

    def on_train_batch_end(
        self, trainer: object, module: object, outputs: object, batch: object, n: int
    ) -> None:
        """Start behind the warm-up, stop behind the last step."""
        if n + 1 == WARM:
            self.begin = time.perf_counter()
        if n + 1 == self.steps:
            self.took = time.perf_counter() - self.begin


def module_of(cfg: DictConfig) -> Segmentation:
    """The network with its loss and optimizer."""
    network = instantiate(cfg.model.network, n_channels=len(cfg.model.channels))
    return Segmentation(
        network,
        instantiate(cfg.loss),
        instantiate(cfg.optimizer),
        cfg.schedule,
        cfg.warmup,
        lambda maps: maps,
    )


def bare(cfg: DictConfig, crops: Crops, steps: int) -> float:
    """Seconds of a loop of forward, backward and step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = module_of(cfg).to(device)
    optimizer = module.optimizer(module.network.parameters())
    pairs = [crops[n] for n in range(cfg.batch_size)]
    image = torch.stack([p[0] for p in pairs]).to(device).float() / 255
    image = image.contiguous(memory_format=torch.channels_last)
    target = torch.stack([p[1] for p in pairs]).to(device)
    begin = 0.0
    for step in range(steps):
        if step == WARM:
            begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=precision("auto") != "32-true"):
            loss = module.loss(module.network(image), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
        loss.item()
    return time.perf_counter() - begin


def road(cfg: DictConfig, store: Store, ids: list[str], steps: int) -> float:
    """Seconds of as many steps of what `train` runs."""
    clock = Clock(steps)
    trainer = OmegaConf.to_container(cfg.trainer) | {
        "precision": precision(cfg.trainer.precision),
        "max_epochs": 1,
        "limit_val_batches": 0,
        "check_val_every_n_epoch": 1,
    }
    data = NucleiData(
        store,
        ids,
        ids[:1],
        instantiate(cfg.augment, _convert_="all"),
        cfg.batch_size,
        steps * cfg.batch_size,
        loader_processes(cfg.num_workers),
        0,
        cfg.model.network.preprocessing,
        CHANNELS,
        val_crops=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(module_of(cfg), data, folder, cfg.ema_decay, callbacks=[clock], **trainer)
    return clock.took


def main() -> None:
    """Time both in turn and print the ratio of the medians."""
    words = [word for word in sys.argv[1:] if word != "--give-memory-back"]
    if len(words) == len(sys.argv[1:]):
        keep_freed_memory()
    steps = int(words[0]) if words else 20
    with initialize_config_dir(str(HERE / "configs"), version_base=None):
        cfg = compose("train", overrides=words[1:])
    OmegaConf.resolve(cfg)
    store = Store(cfg.data.store)
    ids = [row.image_id for row in read_folds(cfg.data.folds) if row.fold != 0]
    augment = instantiate(cfg.augment, _convert_="all")
    crops = Crops(store, ids, augment, 0, cfg.model.network.preprocessing, CHANNELS)
    times: dict[str, list[float]] = {"bare loop": [], "road": []}
    for _ in range(5):
        times["bare loop"].append(bare(cfg, crops, steps))
        times["road"].append(road(cfg, store, ids, steps))
    rate = {name: (steps - WARM) / statistics.median(took) for name, took in times.items()}
    for name, value in rate.items():
        print(f"{name:<10} {value:6.2f} steps/s of {cfg.batch_size} crops, {torch.get_num_threads()} threads")
    print(f"the road takes {rate['bare loop'] / rate['road']:.3f} times the bare loop's time")


if __name__ == "__main__":
    main()
