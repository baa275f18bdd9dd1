"""The ledger: one row for each submission that was sent, with the code that made it and its score."""

from __future__ import annotations

import csv
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from nuclei.atomic import atomic_write
from nuclei.data.image_files import as_text
from nuclei.errors import UserError
from nuclei.submission.make_submission import SubmissionRecord, sha256_of

SHOWN = ("date", "file", "commit", "members", "oof_nested", "oof_tuned", "public", "private", "message")
WIDEST = 40  # characters of a value in the printed table
Points = list[tuple[float, float]]
"""Pairs of an out-of-fold score and a leaderboard score."""


@dataclass(frozen=True)
class LedgerRow(SubmissionRecord):
    """One submission, beside the record of how the file was made.

    Attributes:
        date: when it was sent, UTC.
        public, private: scores on the leaderboards; empty until they are known.
        message: what Kaggle shows beside the score; of no two submissions the same.
        status: ``sending`` until Kaggle's answer is here, then ``pending``, ``complete`` or ``error``.
        ref: the number that Kaggle gave; empty where it is not known.
    """

    date: str = ""
    file: str = ""
    sha256: str = ""
    public: str = ""
    private: str = ""
    message: str = ""
    status: str = "sending"
    ref: str = ""

    @classmethod
    def of_submission(cls, path: Path, record: SubmissionRecord, message: str) -> LedgerRow:
        """Return the row of a file that is about to be sent; a unique word is added to the message."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        message = f"{' '.join(message.split())} [{secrets.token_hex(4)}]"
        return cls(**vars(record), date=date, file=str(path), sha256=sha256_of(path), message=message)


RECORD = tuple(field.name for field in fields(SubmissionRecord))
COLUMNS = ("date", "file", "sha256", *RECORD, "public", "private", "message", "status", "ref")


def read_ledger(path: str | Path) -> list[LedgerRow]:
    """Return the rows, oldest first; none where there is no ledger yet.

    Raises:
        UserError: the file cannot be read, is no ledger, rows are missing, or one differs from its checksum.
    """
    try:
        with open(path, newline="", encoding="utf-8") as f:
            lines = list(csv.reader(f))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"cannot read the ledger {path}: {e}; correct it or move it away") from e
    for number, line in enumerate(lines or [[]], 1):  # an empty file has lost its rows
        expected = _header(len(lines) - 1) if number == 1 else [*line[:-1], _check(line[:-1])]
        if line != expected or len(line) != len(COLUMNS) + 1:
            wanted, got = (" ".join(",".join(cells).split())[-80:] for cells in (expected, line))
            raise UserError(
                f"{path}, row {number}: expected {wanted}, got {got}; "
                "correct it, or move it away and the next ./run.sh submit begins a new one"
            )
    values = ([text.removeprefix("'") for text in line] for line in lines[1:])
    return [LedgerRow(**dict(zip(COLUMNS, line, strict=False))) for line in values]


def _header(rows: int) -> list[str]:
    """Return the first line, which counts the rows: what lost its end is not taken for a shorter ledger."""
    return [*COLUMNS, f"check of {rows} rows"]


def _check(cells: Sequence[str]) -> str:
    """Return the checksum of a row, which stands in its last cell."""
    return hashlib.sha256("\n".join(cells).encode()).hexdigest()[:8]


def write_row(path: str | Path, row: LedgerRow, remove: bool = False) -> None:
    """Add a row, or replace or ``remove`` the one of the same message; refuse a damaged ledger."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # of two writers neither loses the other's row
            rows = {other.message: other for other in read_ledger(path)}
            rows[row.message] = row
            if remove:
                del rows[row.message]
            with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
                table = csv.writer(f, lineterminator="\n")
                table.writerow(_header(len(rows)))
                for each in rows.values():
                    # The csv module does not quote a carriage return alone, which ends a row for its reader.
                    values = (str(getattr(each, name)).replace("\r", " ") for name in COLUMNS)
                    cells = [as_text(value) for value in values]
                    table.writerow([*cells, _check(cells)])
    except OSError as e:
        raise UserError(f"cannot use the folder {path.parent}: {e.strerror or e}") from e


def newest_row(path: str | Path, sha256: str) -> LedgerRow | None:
    """Return the newest row of a file, or None if it was never sent."""
    rows = [row for row in read_ledger(path) if row.sha256 == sha256]
    return rows[-1] if rows else None


def format_table(rows: Sequence[LedgerRow]) -> str:
    """Return the rows as a text table.

    >>> print(format_table([LedgerRow(commit="0123456789", dirty="yes", public="0.5")]))
    date    file    commit     members    oof_nested    oof_tuned      public  private    message
                    01234567+                                             0.5
    """
    from tabulate import tabulate

    cells = [[_cell(row, name) for name in SHOWN] for row in rows]
    return tabulate(cells, SHOWN, "plain", disable_numparse=True)


def _cell(row: LedgerRow, name: str) -> str:
    """Return a value, shortened; of a commit the beginning, with + where the code differed from it."""
    value = " ".join(str(getattr(row, name)).split())
    if name == "commit":
        return value[:8] + ("+" if row.dirty == "yes" else "")
    return value if len(value) <= WIDEST else value[: WIDEST - 1] + "…"


def scored_points(rows: Sequence[LedgerRow]) -> dict[str, Points]:
    """Return for each leaderboard the nested out-of-fold and the leaderboard score of rows that have both.

    >>> scored_points([LedgerRow(oof_nested="0.5", public="0.4"), LedgerRow(public="0.3")])
    {'public': [(0.5, 0.4)], 'private': []}
    """
    boards: dict[str, Points] = {"public": [], "private": []}
    for row in rows:
        for board, score in (("public", row.public), ("private", row.private)):
            if row.oof_nested and score:
                boards[board].append((float(row.oof_nested), float(score)))
    return boards


def describe_correlation(board: str, points: Points) -> str:
    """Return one line on how out-of-fold and leaderboard scores go together.

    >>> describe_correlation("public", [(0.1, 0.2), (0.2, 0.3), (0.3, 0.1)])
    'out-of-fold (nested) and public score: Pearson -0.50, Spearman -0.50, 3 submissions'
    """
    from scipy.stats import pearsonr, spearmanr

    name = f"out-of-fold (nested) and {board} score"
    if len(points) < 3 or any(len(set(axis)) == 1 for axis in zip(*points, strict=True)):
        return f"{name}: {len(points)} submissions have both; a correlation needs three that differ"
    pearson, spearman = (test(*zip(*points, strict=True)).statistic for test in (pearsonr, spearmanr))
    return f"{name}: Pearson {pearson:.2f}, Spearman {spearman:.2f}, {len(points)} submissions"


def draw_scores(path: Path, boards: Mapping[str, Points]) -> None:
    """Draw leaderboard scores over out-of-fold scores, with the line on which both are equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for (board, points), marker in zip(boards.items(), "ox", strict=True):
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, label=board)
    middle = sum(x for points in boards.values() for x, _ in points) / sum(map(len, boards.values()))
    axes.axline((middle, middle), slope=1, color="grey", linewidth=0.8)
    axes.set(xlabel="out-of-fold mAP, nested", ylabel="leaderboard")
    axes.legend()
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=120)
