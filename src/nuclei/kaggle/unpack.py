"""Unpack the competition's zips within a zip into folders, and count the images in them."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from nuclei.data.sources import SPLITS, Split
from nuclei.data.sources.dsb2018 import Dsb2018
from nuclei.data.store import ZIP_ERRORS
from nuclei.errors import UserError
from nuclei.progress import track


class DamagedZip(UserError):
    """A zip that cannot be read to its end, or that holds names which lead out of the folder."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip into ``folder``, and each zip inside into a folder of the same name.

    ``stage1_train.zip`` becomes ``stage1_train/``, whether or not its members begin with
    ``stage1_train/``; ``labels.csv.zip`` with the one member ``labels.csv`` becomes that file.
    Every member is checked against its checksum; after an error the folder holds an unfinished part.

    Raises:
        DamagedZip: a zip is damaged, locked with a password, or unsafe.
        UserError: the disk is full or refuses.
    """
    try:
        _extract(archive, folder, archive.name)
        for inner in sorted(p for p in folder.rglob("*.zip") if p.is_file()):
            _extract(inner, inner.parent, f"{inner.name} in {archive.name}", level=inner.stem)
            inner.unlink()
    except OSError as e:
        fault = f"cannot unpack {archive} into {folder}: {e.strerror or e}"
        raise UserError(f"{fault}; free some space and try again") from e


def move_into(stage: Path, folder: Path) -> list[str]:
    """Move files and folders into ``folder``, where others but empty folders stay; return their names."""
    moved = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in sorted(stage.iterdir()):
            target = folder / entry.name
            if not target.exists() or (target.is_dir() and not any(target.iterdir())):
                os.replace(entry, target)
                moved.append(entry.name)
    except OSError as e:
        raise UserError(f"cannot write into {folder}: {e.strerror or e}") from e
    return moved


def _extract(archive: Path, folder: Path, name: str, level: str | None = None) -> None:
    """Unpack one zip; ``level`` is added to members that do not all begin with it."""
    try:
        with zipfile.ZipFile(archive) as z:
            members = [m for m in z.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
            for member in members:
                _check_safe(member, name)
            folder.mkdir(parents=True, exist_ok=True)
            check_space(folder, sum(m.file_size for m in members))
            if level and any(PurePosixPath(m.filename).parts[0] != level for m in members):
                folder = folder / level
            for member in track(members, f"unpacking {name}"):
                _write(z, member, folder / member.filename, name)
    except ZIP_ERRORS as e:
        raise DamagedZip(f"{name} is no readable zip: {e}") from e


def _write(z: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with z.open(member) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
    except ZIP_ERRORS as e:
        raise DamagedZip(f"{name} is damaged at {member.filename}: {e}") from e


def _check_safe(member: zipfile.ZipInfo, name: str) -> None:
    """Refuse names that lead out of the folder, and links."""
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    drive = member.filename[1:2] == ":"
    link = stat.S_ISLNK(member.external_attr >> 16)
    if not parts or parts[0] == "/" or ".." in parts or drive or link:
        where = f"'{member.filename}', which leads out of the folder"
        raise DamagedZip(f"{name} holds {where}; it is not unpacked")


def check_space(folder: Path, needed: int) -> None:
    """Raise a UserError unless ``needed`` bytes fit onto the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder} needs {needed / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB left; "
            "free some space or choose another folder"
        )


def count_images(root: Path) -> dict[Split, int]:
    """Return the number of images of each split, in folders or zips; refuse damaged ones."""
    counts = dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        folder = root / f"stage1_{split}"
        try:
            if folder.with_suffix(".zip").exists() or (folder.is_dir() and any(folder.iterdir())):
                counts[split] = len(Dsb2018(root).items(split))
        except UserError as e:
            raise UserError(f"{folder} is in the way: {e}; move it away, then run ./run.sh download") from e
    return counts


def check_counts(place: Path, counts: Mapping[Split, int], allowed: Mapping[str, Sequence[int]]) -> None:
    """Raise a UserError unless the number of images of each split is an allowed one."""
    for split, n in counts.items():
        if n not in allowed[split]:
            expected = " or ".join(map(str, allowed[split]))
            raise UserError(
                f"{place}: expected {expected} images in stage1_{split}, found {n}; move an "
                f"unfinished folder away and download again, or allow it with images.{split}=[{n}]"
            )


def install_files(archive: Path, root: Path, work: Path, allowed: Mapping[str, Sequence[int]]) -> list[str]:
    """Unpack the competition's zip, check its number of images, and move its files into ``root``.

    What is not complete yet lies in ``work``, on the same disk. ``allowed`` has numbers of images by split.
    For the errors see ``unpack`` and ``check_counts``.
    """
    stage = work / "unpacked"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        unpack(archive, stage)
        check_counts(archive, count_images(stage), allowed)
        return move_into(stage, root)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
