"""``./run.sh download``: the competition's files, from Kaggle into folders that ``prepare`` reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from nuclei.config import Call
from nuclei.errors import UserError
from nuclei.kaggle.competition import Competition, one_at_a_time
from nuclei.kaggle.unpack import DamagedZip, check_counts, count_images, install_files
from nuclei.paths import PROGRAM

IMAGES = "{train} training images, {test} test images"


def main(cfg: DictConfig, call: Call) -> None:
    """Fetch, unpack and count; what the folder has already stays as it is."""
    if cfg.data.name != "dsb2018":
        raise UserError(
            f"data={cfg.data.name} is not on Kaggle; leave it away, or ./run.sh prepare data={cfg.data.name}"
        )
    if cfg.archive and not Path(cfg.archive).is_file():
        raise UserError(f"archive={cfg.archive}: there is no such file")
    root = Path(cfg.data.root)
    if is_complete(root, cfg.images):
        return
    # Beside the folder: that one appears only when there is something in it.
    work = (root if root.is_mount() else root.parent) / f".{root.name}.download"
    lock = work.with_suffix(".lock")
    with one_at_a_time(lock, f"download into {root} is under way"):
        try:
            if not is_complete(root, cfg.images):  # by the one that was waited for
                fetch(cfg, root, work)
        finally:
            lock.unlink(missing_ok=True)


def is_complete(root: Path, allowed: Mapping[str, Sequence[int]]) -> bool:
    """Return whether all images are there, and say so; refuse a folder that is there in part."""
    counts = count_images(root)
    check_counts(root, {split: n for split, n in counts.items() if n}, allowed)
    if not all(counts.values()):
        return False
    print(f"{root} is complete: {IMAGES.format(**counts)}; nothing to do; next: {PROGRAM} prepare")
    return True


def fetch(cfg: DictConfig, root: Path, work: Path) -> None:
    """Fetch the archive into ``work``, unpack it there, and move its files into ``root``."""
    competition = Competition(cfg.kaggle.competition, cfg.kaggle.patience, cfg.kaggle.retries)
    archive = Path(cfg.archive) if cfg.archive else competition.download_files(work)
    try:
        names = install_files(archive, root, work, cfg.images)
    except DamagedZip as e:
        if cfg.archive:
            raise UserError(f"{e}; download {archive} again") from e
        archive.unlink()
        raise UserError(f"the download is damaged and was removed: {e}; run ./run.sh download again") from e
    shutil.rmtree(work, ignore_errors=True)
    images = IMAGES.format(**count_images(root))
    print(f"wrote {', '.join(names)} into {root}: {images}; next: {PROGRAM} prepare")
