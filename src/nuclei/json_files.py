"""Records in JSON files that hold a checksum: a changed bit is noticed when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuclei.atomic import atomic_write

CHECKSUM = "checksum"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a record, whole, with its checksum as the last value.

    Args:
        path: of the file.
        values: by name, each of types that JSON has.

    Raises:
        UserError: the disk is full or the folder cannot be written.
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
