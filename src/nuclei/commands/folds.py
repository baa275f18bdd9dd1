"""``./run.sh folds``: assign the training images to folds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from omegaconf import DictConfig

from nuclei.config import Call
from nuclei.data.folds import make_folds, read_folds, write_folds
from nuclei.data.store import Store


def main(cfg: DictConfig, call: Call) -> None:
    """Write the folds file of ``cfg.data``; one that exists is frozen unless ``force=true``."""
    path = Path(cfg.data.folds)
    kept = path.exists() and not cfg.force
    rows = (
        read_folds(path)
        if kept
        else make_folds(
            Store(cfg.data.store),
            cfg.n_folds,
            cfg.seed,
            cfg.correlation,
            cfg.jump,
            cfg.n_kinds,
            cfg.fewer,
        )
    )
    if not kept:
        write_folds(path, rows)
    groups = Counter(r.group for r in rows)
    tiles = [n for n in groups.values() if n > 1]
    print(
        f"{len(rows)} images; {sum(tiles)} of them are tiles or near-duplicates of others, "
        f"in {len(tiles)} groups that stay together"
    )
    for fold, n in sorted(Counter(r.fold for r in rows).items()):
        kinds = Counter(r.modality for r in rows if r.fold == fold)
        nuclei = sum(r.nuclei for r in rows if r.fold == fold)
        print(
            f"fold {fold}: {n} images, {nuclei} nuclei, "
            + ", ".join(f"{v} {k}" for k, v in sorted(kinds.items()))
        )
    verb = "kept (force=true makes it anew)" if kept else "wrote"
    print(f"{verb} {path}; next: {call.next('train', cfg.data.name, 'fold=0')}")
