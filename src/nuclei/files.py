"""Files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nuclei.errors import UserError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path``.

    On any exception the temporary file is removed and ``path`` stays as it was.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
