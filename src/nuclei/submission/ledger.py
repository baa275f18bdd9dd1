"""The ledger: one row for each submission that was sent, with the code that made it and its score."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nuclei.errors import UserError
from nuclei.files import whole

COLUMNS = ("date", "file", "sha256", "commit", "dirty", "message", "public", "private", "status", "ref")
Row = dict[str, str]


def read(path: str | Path) -> list[Row]:
    """Return the rows, oldest first; none where there is no ledger yet.

    Raises:
        UserError: the file cannot be read, or is no ledger.
    """
    try:
        with open(path, newline="", encoding="utf-8") as f:
            lines = list(csv.reader(f))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"cannot read the ledger {path}: {e}; mend it or move it away") from e
    for number, line in enumerate(lines, 1):
        if len(line) != len(COLUMNS) or (number == 1 and tuple(line) != COLUMNS):
            raise UserError(
                f"{path}, row {number}: expected {','.join(COLUMNS)}, got {','.join(line)[:80]}; "
                "mend it or move it away"
            )
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]]


def record(path: str | Path, row: Row) -> None:
    """Add a row, or replace the one of the same ``ref``; the file is written whole or stays as it was.

    Raises:
        UserError: the ledger is damaged or cannot be written.
    """
    path = Path(path)
    with _alone(path.parent):
        rows = read(path)
        known = [i for i, old in enumerate(rows) if row["ref"] and old["ref"] == row["ref"]]
        if known:
            rows[known[-1]] = row
        else:
            rows.append(row)
        with whole(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
            table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def pending(path: str | Path, sha256: str) -> Row | None:
    """Return the newest row of a file that was sent and whose score was not there yet."""
    rows = [row for row in read(path) if row["sha256"] == sha256]
    return rows[-1] if rows and rows[-1]["status"] == "pending" else None


def digest(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def code_state(folder: str | Path) -> tuple[str, str]:
    """Return the commit of the code in ``folder``, and ``yes`` or ``no``: does it differ from that commit.

    Files that git does not know and the ledger itself do not count. Both are empty without git.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changes = git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)*ledger.csv"
        )
    except (OSError, subprocess.SubprocessError):
        return "", ""
    return commit, "yes" if changes else "no"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on ``folder``, so that of two writers neither loses the other's row."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as e:
        raise UserError(f"cannot use the folder {folder}: {e.strerror}") from e
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
