"""Files that appear complete or not at all, and JSON records whose checksum shows a changed bit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nuclei.errors import UserError


def _host() -> str:
    """Return a name of the machine, and of the container, where process numbers are a container's own."""
    namespace = ""
    with suppress(OSError):  # not on every system
        namespace = os.readlink("/proc/self/ns/pid")
    return re.sub(r"\W+", "_", f"{socket.gethostname()[:40]} {namespace}").strip("_")


HOST = _host()
CHECKSUM = "checksum"
FORGOTTEN = 24 * 3600
"""Age in seconds at which another machine's temporary file is taken for one that was left behind."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and, at the end, rename the file written there to ``path``.

    After an exception the temporary file is removed and ``path`` is as it was before. Temporary files that
    killed processes left behind are removed when something is written to the same folder again.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        part.touch(exist_ok=False)
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)
    except OSError as e:
        if e.filename and str(e.filename) not in map(str, (part, path, *path.parents)):
            raise  # about another file, which could not be read
        raise UserError(
            f"cannot write {path}: {e.strerror or e}; free some space or choose another folder"
        ) from e
    finally:
        with suppress(OSError):  # in a folder that cannot be written there is none
            part.unlink()


@contextmanager
def atomic_folder(path: Path, setting: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` and, at the end, rename it to ``path``, which must not exist.

    Where another process has made ``path`` meanwhile, that one stays.

    Raises:
        UserError: the disk is full or the folder cannot be written; ``setting`` chooses another one.
    """
    part = part_of(path)
    try:
        remove_leftovers(path.parent)
        yield part
        try:
            os.replace(part, path)
        except OSError:
            if not path.is_dir():
                raise
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror}; free some space or choose {setting}") from e
    finally:
        shutil.rmtree(part, ignore_errors=True)


def part_of(path: Path) -> Path:
    """Return a temporary path beside ``path``, whose name tells which process writes there."""
    stem = path.name.encode()[:100].decode(errors="ignore")  # a name has at most 255 bytes
    return path.with_name(f".{stem}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders whose processes have ended: here, or a day ago elsewhere."""
    for part in folder.glob(".*.part"):
        match = re.fullmatch(r"\..+\.(\w+)-(\d+)-[0-9a-f]{8}\.part", part.name)
        if match and (_has_ended(int(match[2])) if match[1] == HOST else _is_old(part)):
            with suppress(OSError):  # another process was faster, or it is another user's
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > FORGOTTEN
    except FileNotFoundError:  # another process was faster
        return False


def _has_ended(pid: int) -> bool:
    """Return whether no process has this number, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a record of types that JSON has, whole, with its checksum as the last value.

    Raises:
        UserError: see ``atomic_write``.
    """
    values = json.loads(json.dumps(values))  # as they are read again: keys are text, tuples are lists
    with atomic_write(path) as part:
        text = json.dumps({**values, CHECKSUM: _checksum(values)}, indent=2, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return the values of a file that ``write_json`` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or differs from its checksum.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        checksum = values.pop(CHECKSUM)
    except (RecursionError, KeyError, TypeError, AttributeError) as e:
        raise ValueError("no record with a checksum") from e
    if checksum != _checksum(values):
        raise ValueError("it differs from its checksum")
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    """Return a hash that is the same for equal values, in whatever way they are written."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
