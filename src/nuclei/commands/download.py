"""``./run.sh download``: the competition's files, from Kaggle into folders that ``prepare`` reads."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from omegaconf import DictConfig

from nuclei.call import Call
from nuclei.data.sources.base import SPLITS, Split
from nuclei.data.sources.dsb2018 import Dsb2018
from nuclei.errors import UserError
from nuclei.kaggle.competition import Kaggle
from nuclei.kaggle.unpack import DamagedZip, place, unpack


def main(cfg: DictConfig, call: Call) -> None:
    """Fetch, unpack and count; what the folder has already stays as it is."""
    if cfg.data.name != "dsb2018":
        raise UserError(
            f"data={cfg.data.name} is not on Kaggle; leave it away, or ./run.sh prepare data={cfg.data.name}"
        )
    root = Path(cfg.data.root)
    have = count(root)
    check(root, {split: n for split, n in have.items() if n}, cfg.images)
    if all(have.values()):
        print(f"{root} is complete: {in_words(have)}; nothing to do; next: ./run.sh prepare")
        return
    # Beside the folder: that one appears only when there is something in it.
    work = (root if root.is_mount() else root.parent) / f".{root.name}.download"
    archive = given(cfg.archive) if cfg.archive else fetch(Kaggle(**cfg.kaggle), work)
    stage = work / "unpacked"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        unpack(archive, stage)
        check(archive, count(stage), cfg.images)
        names = place(stage, root)
    except DamagedZip as e:
        if cfg.archive:
            raise UserError(f"{e}; download {archive} again") from e
        archive.unlink()
        raise UserError(f"the download is damaged and was removed: {e}; run ./run.sh download again") from e
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    print(f"wrote {', '.join(names)} into {root}: {in_words(count(root))}; next: ./run.sh prepare")


def count(root: Path) -> dict[Split, int]:
    """Count the images of each part, in folders or zips; 0 for a part that is not there.

    Raises:
        UserError: there is something that is damaged or holds no images.
    """
    found = dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        folder = root / f"stage1_{split}"
        try:
            if folder.with_suffix(".zip").exists() or (folder.is_dir() and any(folder.iterdir())):
                found[split] = len(Dsb2018(root).items(split))
        except UserError as e:
            raise UserError(f"{folder} is in the way: {e}; move it away, then run ./run.sh download") from e
    return found


def check(where: Path, found: dict[Split, int], allowed: DictConfig) -> None:
    """Raise unless each number of images is an allowed one."""
    for split, n in found.items():
        if n not in allowed[split]:
            expected = " or ".join(map(str, allowed[split]))
            raise UserError(
                f"{where}: expected {expected} images in stage1_{split}, found {n}; move an "
                f"unfinished folder away and download again, or allow it with images.{split}=[{n}]"
            )


def in_words(found: dict[Split, int]) -> str:
    """Say how many images there are."""
    return f"{found['train']} training images, {found['test']} test images"


def given(archive: str) -> Path:
    """Return the path of a zip that the user has fetched."""
    if not Path(archive).is_file():
        raise UserError(f"archive={archive}: there is no such file")
    return Path(archive)


def fetch(kaggle: Kaggle, work: Path) -> Path:
    """Download the competition's zip; one that lies there whole, from a run that was stopped, will do."""
    whole = work / f"{kaggle.competition}.zip"
    archive = whole if zipfile.is_zipfile(whole) else kaggle.download(work)
    print(f"downloaded {kaggle.competition}, {archive.stat().st_size / 1e6:.0f} MB")
    return archive
