"""``./run.sh prepare``: the competition's files into one compact store."""

from __future__ import annotations

import time
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import build
from nuclei.config import Call
from nuclei.data.store import prepare
from nuclei.errors import UserError

RULES = ("overlapping", "empty", "of another size", "in several pieces", "covered")


def main(cfg: DictConfig, call: Call) -> None:
    """Write the store of ``cfg.data`` and report what the masks needed."""
    start = time.monotonic()
    counts = prepare(build(cfg.data.source), cfg.data.store, cfg.workers)
    found = ", ".join(f"{counts[rule]} {rule}" for rule in RULES)
    print(f"{counts['train']} training images with {counts['nuclei']} nuclei, {counts['test']} test images")
    print(f"masks: {found}")
    for rule in sorted(counts.keys() - {*RULES, "train", "test", "nuclei", "left out"}):
        print(f"{counts[rule]} {rule}")
    size = Path(cfg.data.store).stat().st_size / 1e6
    took = time.monotonic() - start
    print(
        f"wrote {cfg.data.store} ({size:.1f} MB) in {took:.0f} s; next: {call.next('folds', cfg.data.name)}"
    )
    if left_out := counts["left out"]:
        raise UserError(
            f"{left_out} images were left out, as said above; {cfg.data.store} has the others; replace the "
            f"files and run ./run.sh prepare data={cfg.data.name}, or go on without them"
        )
