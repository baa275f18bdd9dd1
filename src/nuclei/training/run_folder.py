"""A run folder: who has it, what was asked of it, and whether it is done."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nuclei.atomic import atomic_write
from nuclei.errors import UserError

BEFORE: dict[str, Any] = {"schedule": "cosine", "augment.tint": 0.0, "model.network.preprocessing": "nuclei"}
"""What settings were before there was a choice, for folders that were begun then."""
WORTH = ("last.ckpt", "model.safetensors", "done.json")
"""Files that make a folder one that was begun."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` alone; the lock ends with the process, however it ends.

    Raises:
        UserError: another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115 - open for as long as the lock
    except OSError as e:
        raise UserError(
            f"cannot write {folder}: {e.strerror}; free some space or choose paths.runs=FOLDER"
        ) from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is in use by another run; wait for it, or choose name=OTHER") from None
        yield


def claim(folder: Path, settings: dict[str, Any], free: Sequence[str]) -> None:
    """Write ``settings`` as the folder's config, or check that they are the ones it was begun with.

    Args:
        folder: of the run.
        settings: all of them, resolved.
        free: keys that may differ, with all below them.

    Raises:
        UserError: the folder was begun with other settings; the message names the first three.
    """
    path = folder / "config.json"
    if not (path.exists() and any((folder / name).exists() for name in WORTH)):
        with atomic_write(path) as part:
            part.write_text(json.dumps(settings, indent=2) + "\n")
        return
    now = _flat(settings)
    before = {k: v for k, v in BEFORE.items() if k in now} | _flat(settings_of(folder))
    keys = sorted(
        k for k in before.keys() | now.keys() if not f"{k}.".startswith(tuple(f"{f}." for f in free))
    )
    other = [k for k in keys if before.get(k) != now.get(k)]
    if other:
        shown = ", ".join(f"{k}={before.get(k)}" for k in other[:3])
        raise UserError(f"{folder} was begun with {shown}; use these, or choose name=OTHER, or delete it")


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings that ``claim`` wrote."""
    return dict(json.loads((folder / "config.json").read_text()))


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def finished(folder: Path) -> dict[str, Any] | None:
    """What ``finish`` wrote, or None."""
    path = folder / "done.json"
    return json.loads(path.read_text()) if path.exists() else None


def finish(folder: Path, result: dict[str, Any]) -> None:
    """Mark the run as done, with its figures; the last file that a run writes."""
    with atomic_write(folder / "done.json") as part:
        part.write_text(json.dumps(result, indent=2) + "\n")
