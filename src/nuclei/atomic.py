"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nuclei.errors import UserError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and, at the end, rename the file written there to ``path``.

    After an exception the temporary file is removed and ``path`` is as it was before. Temporary files that
    killed processes left behind are removed when ``path`` is written again.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield part
        with open(part, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    except OSError as e:
        if e.filename and str(e.filename) not in map(str, (part, path, path.parent)):
            raise  # about another file, which could not be read
        raise UserError(
            f"cannot write {path}: {e.strerror or e}; free some space or choose another folder"
        ) from e
    finally:
        part.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of ``path`` whose processes have ended."""
    for part in path.parent.iterdir():
        match = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.part", part.name)
        if match and not _is_running(int(match[1])):
            part.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    """Return whether a process exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
