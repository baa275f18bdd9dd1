"""Anybody's image files: which there are, what each is called, and what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nuclei.data import image_decoding as decode
from nuclei.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def find(path: Path) -> dict[str, Path]:
    """The image files under ``path``, or ``path`` itself, by a name that can stand in a CSV.

    Raises:
        UserError: there is none, or two files have one name.
    """
    if not path.exists():
        raise UserError(f"no file or folder at {path}")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"no images under {path}; expected files that end in {', '.join(SUFFIXES)}")
    named: dict[str, Path] = {}
    for file in files:
        name = plain(file)
        if name in named:
            raise UserError(f"{named[name]} and {file} would both be called {name}; rename one of them")
        named[name] = file
    return named


def plain(file: Path) -> str:
    """A file's name without its ending, as it can stand in a CSV.

    >>> plain(Path("day 1, left.tif"))
    'day_1__left'
    """
    return re.sub(r"[^\w.-]", "_", file.stem)


def read(name: str, file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Each page of a file with its name: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.

    Raises:
        UserError: the file cannot be read or is no image.
    """
    try:
        data = file.read_bytes()
    except OSError as e:
        raise UserError(f"cannot read {file}: {e.strerror}") from e
    found = decode.pages(data, str(file))
    for n, page in enumerate(found, 1):
        yield (name if len(found) == 1 else f"{name}_page{n}"), page
