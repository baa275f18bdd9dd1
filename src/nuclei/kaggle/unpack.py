"""Zips within zips, as Kaggle sends them, unpacked into folders."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from nuclei.errors import UserError
from nuclei.progress import track

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class DamagedZip(UserError):
    """A zip that cannot be read to its end, or that holds names which lead out of the folder."""


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip into ``folder``, and each zip in it into a folder of its own name.

    ``stage1_train.zip`` becomes ``stage1_train/``, whether or not its members begin with
    ``stage1_train/``; ``labels.csv.zip`` with the one member ``labels.csv`` becomes that file.
    Every member is checked against its checksum.

    Args:
        archive: the outer zip; it stays.
        folder: where to; made if missing. After an error it holds an unfinished part.

    Raises:
        DamagedZip: a zip is damaged, locked with a password, or unsafe.
        UserError: the disk is full or refuses.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        _extract(archive, folder, archive.name)
        for inner in sorted(p for p in folder.rglob("*.zip") if p.is_file()):
            _extract(inner, inner.parent, f"{inner.name} in {archive.name}", level=inner.stem)
            inner.unlink()
    except OSError as e:
        why = e.strerror or e
        raise UserError(f"cannot unpack {archive} into {folder}: {why}; free some space and try again") from e


def place(stage: str | Path, folder: str | Path) -> list[str]:
    """Move what is in ``stage`` into ``folder`` and return the names.

    What is there already stays as it is; an empty folder counts as nothing.
    """
    moved = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for entry in sorted(Path(stage).iterdir()):
            target = Path(folder) / entry.name
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
    except zipfile.BadZipFile as e:
        raise DamagedZip(f"{name} is no readable zip: {e}") from e


def _write(z: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with z.open(member) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
    except BROKEN as e:
        raise DamagedZip(f"{name} is damaged at {member.filename}: {e}") from e


def _check_safe(member: zipfile.ZipInfo, name: str) -> None:
    """Refuse names that lead out of the folder, and links."""
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    drive = member.filename[1:2] == ":"
    link = stat.S_ISLNK(member.external_attr >> 16)
    if not parts or parts[0] == "/" or ".." in parts or drive or link:
        raise DamagedZip(
            f"{name} holds '{member.filename}', which leads out of the folder; it is not unpacked"
        )


def check_space(folder: Path, needed: int) -> None:
    """Raise a UserError unless ``needed`` bytes fit onto the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder} needs {needed / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB left; "
            "free some space or choose another folder"
        )
