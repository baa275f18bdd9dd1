"""Inject a fault into a process at its n-th change of a file: kill it, or let the disk be full from then on.

The tests call this a strike.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from pathlib import Path

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGED = {  # event of Python's audit and the place of the changed path among its arguments
    "open": 0,
    "os.mkdir": 0,
    "os.rename": 1,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.truncate": 0,
    "os.link": 1,
    "os.symlink": 1,
}
FREES = ("os.remove", "os.rmdir")
"""Events that a full disk does not hinder."""


def arm(root: Path, log: Path, number: int = 0, fault: str = "kill", match: str = "") -> None:
    """Write each change below ``root`` to ``log`` and strike this process at one of them, just before it.

    Children are not struck. What libraries write without Python is not seen, but every file here is created
    and renamed by Python.

    Args:
        root: absolute folder.
        log: file outside of it, one line for each change: the event and the path.
        number: of the change to strike at, from 1; 0 strikes at none.
        fault: ``kill`` and ``term`` send the signal; ``full`` lets this and all later writes fail (ENOSPC).
        match: regular expression; only the lines that it fits are counted.
    """
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process, count = os.getpid(), 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in CHANGED or os.getpid() != process:
            return
        if event == "open" and not is_write(*arguments[1:]):
            return
        path = arguments[CHANGED[event]]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith(f"{root}{os.sep}") or "__pycache__" in full:
            return
        line = f"{event} {full[len(str(root)) + 1 :]}"
        os.write(lines, f"{line}\n".encode(errors="replace"))
        if not re.search(match, line):
            return
        count += 1
        if fault == "full":
            if number and count >= number and event not in FREES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))
        elif count == number:
            os.kill(process, signal.SIGKILL if fault == "kill" else signal.SIGTERM)

    sys.addaudithook(watch)


def is_write(mode: object, flags: object) -> bool:
    """Return whether a file is opened to be written, by ``open`` (mode) or ``os.open`` (flags)."""
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & WRITES)
