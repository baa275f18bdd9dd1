"""The ledger: one row for each submission that was sent, with the code that made it and its score."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.submission.submission_record import MADE, digest

COLUMNS = ("date", "file", "sha256", *MADE, "public", "private", "message", "status", "ref")
OLD = ("date", "file", "sha256", "commit", "dirty", "message", "public", "private", "status", "ref")
Row = dict[str, str]


def new_row(path: Path, made: Mapping[str, str], message: str, ref: int) -> Row:
    """Return the row of a file that was just sent.

    Args:
        path: the file.
        made: how it was made, as far as that is known; see ``nuclei.submission.submission_record``.
        message: what it was sent with.
        ref: the number that Kaggle gave it.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    known = {"date": date, "file": str(path), "sha256": digest(path), **made}
    known |= {"message": message, "status": "pending", "ref": str(ref)}
    return dict.fromkeys(COLUMNS, "") | known


def read(path: str | Path) -> list[Row]:
    """Return the rows, oldest first; none where there is no ledger yet.

    What the columns of an earlier version do not have is empty.

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
    header = OLD if lines and tuple(lines[0]) == OLD else COLUMNS
    for number, line in enumerate(lines, 1):
        if len(line) != len(header) or (number == 1 and tuple(line) != header):
            raise UserError(
                f"{path}, row {number}: expected {','.join(header)}, got {','.join(line)[:80]}; "
                "mend it or move it away"
            )
    return [dict.fromkeys(COLUMNS, "") | dict(zip(header, line, strict=True)) for line in lines[1:]]


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
        with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
            table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def sent(path: str | Path, sha256: str) -> Row | None:
    """Return the newest row of a file, or None if it was never sent."""
    rows = [row for row in read(path) if row["sha256"] == sha256]
    return rows[-1] if rows else None


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
