"""``./run.sh download``: the competition's files, from Kaggle into folders that ``prepare`` reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import DictConfig

from nuclei.config import Call
from nuclei.errors import UserError
from nuclei.kaggle.competition import Competition
from nuclei.kaggle.unpack import DamagedZip, check_counts, count_images, install_files
from nuclei.paths import PROGRAM


def main(cfg: DictConfig, call: Call) -> None:
    """Fetch, unpack and count; what the folder has already stays as it is."""
    if cfg.data.name != "dsb2018":
        raise UserError(
            f"data={cfg.data.name} is not on Kaggle; leave it away, or ./run.sh prepare data={cfg.data.name}"
        )
    if cfg.archive and not Path(cfg.archive).is_file():
        raise UserError(f"archive={cfg.archive}: there is no such file")
    root, counts = Path(cfg.data.root), count_images(Path(cfg.data.root))
    check_counts(root, {split: n for split, n in counts.items() if n}, cfg.images)
    images = "{train} training images, {test} test images"
    if all(counts.values()):
        print(f"{root} is complete: {images.format(**counts)}; nothing to do; next: {PROGRAM} prepare")
        return
    # Beside the folder: that one appears only when there is something in it.
    work = (root if root.is_mount() else root.parent) / f".{root.name}.download"
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
    counts = count_images(root)
    print(f"wrote {', '.join(names)} into {root}: {images.format(**counts)}; next: {PROGRAM} prepare")
