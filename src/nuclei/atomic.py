"""Files appear whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nuclei.errors import UserError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path``.

    On any exception the temporary file is removed and ``path`` stays as it was. What a killed process
    could not remove goes when ``path`` is written again.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
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


def _sweep(path: Path) -> None:
    """Remove the temporary files of ``path`` whose processes are no more."""
    for part in path.parent.iterdir():
        named = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.part", part.name)
        if named and not _lives(int(named[1])):
            part.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
