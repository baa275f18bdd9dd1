"""``./run.sh submit``: validate a submission, send it, wait for its score, write the ledger."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from nuclei.call import Call
from nuclei.errors import UserError
from nuclei.kaggle import ledger
from nuclei.kaggle.competition import Kaggle, Score
from nuclei.paths import ROOT
from nuclei.submission.expected_images import expected_images
from nuclei.submission.rules import validate
from nuclei.submission.submission_record import code_state, digest, read_record


def main(cfg: DictConfig, call: Call) -> None:
    """Send ``cfg.submission``; one that was sent and had no score yet is only waited for."""
    path, book = chosen(cfg), Path(cfg.paths.submissions) / "ledger.csv"
    refuse_invalid(path, cfg)
    kaggle = Kaggle(**cfg.kaggle)
    row = sent_before(kaggle, ledger.sent(book, digest(path)), cfg.again)
    if row is None:
        row = send(kaggle, path, cfg.message)
        keep(book, row)
        print(f"sent {path} to {kaggle.competition} as '{row['message']}'", flush=True)
    try:
        score = kaggle.wait(int(row["ref"]), row["message"], cfg.wait, cfg.poll)
    except UserError as e:
        raise UserError(f"{path} was sent, but its score could not be read: {e}; {resume(path)}") from e
    keep(book, row | {"public": score.public, "private": score.private, "status": score.status})
    report(path, book, score, cfg.wait, kaggle)


def chosen(cfg: DictConfig) -> Path:
    """Return the file that ``submission`` or ``name`` names.

    Raises:
        UserError: neither is given, or there is no such file.
    """
    folder = Path(cfg.paths.submissions)
    if not cfg.submission and not cfg.name:
        there = ", ".join(sorted(p.stem for p in folder.glob("*.csv") if p.name != "ledger.csv")) or "none"
        raise UserError(
            f"which submission? give submission=PATH, or name=NAME of one in {folder} (there: {there})"
        )
    path = Path(cfg.submission) if cfg.submission else folder / f"{cfg.name}.csv"
    if not path.is_file():
        raise UserError(f"there is no submission {path}; run ./run.sh submission, or correct the path")
    return path


def refuse_invalid(path: Path, cfg: DictConfig) -> None:
    """Raise a UserError with the first violation of the competition's rules, before anything is sent."""
    shapes, source = expected_images(cfg.data.store, cfg.data.root, cfg.solution)
    if found := validate(path, shapes):
        raise UserError(
            f"{path} is not valid for the images of {source}, {len(found)} violations; {found[0]}; nothing "
            f"was sent; ./run.sh validate submission={path} lists all"
        )


def sent_before(kaggle: Kaggle, row: ledger.Row | None, again: bool) -> ledger.Row | None:
    """Return the row of a file whose score is still to come, if Kaggle knows that submission.

    Raises:
        UserError: the very same bytes were sent and judged, and it was not said to send them again.
    """
    if row is None or (again and row["status"] != "pending"):
        return None
    if row["status"] != "pending":
        score = f"public {row['public']}, private {row['private']}" if row["public"] else row["status"]
        raise UserError(
            f"the same file was sent as {row['file']} on {row['date']} ({score}); "
            "it would score the same; again=true sends it all the same"
        )
    if kaggle.score(int(row["ref"]), row["message"]) is None:
        return None
    print(f"{row['file']} was sent on {row['date']}; waiting for that score", flush=True)
    return row


def send(kaggle: Kaggle, path: Path, message: str | None) -> ledger.Row:
    """Send the file and return its row for the ledger."""
    made = read_record(path) or unrecorded(path)
    commit, changed = made["commit"], made["dirty"] == "yes"
    if changed:
        warn(f"{path} was made by code that differs from commit {commit[:8]}: it cannot be made again")
    if (left := kaggle.left_today()) is not None:
        print(f"{left} submissions left today", flush=True)
    message = str(message or f"{path.stem} {commit[:8]}{' and changes' if changed else ''}".strip())
    return ledger.new_row(path, made, message, kaggle.submit(path, message))


def unrecorded(path: Path) -> dict[str, str]:
    """Say that nothing is known of how the file was made; return the state of the code that is here."""
    warn(f"no record of how {path} was made, so the ledger will not name its members and scores")
    return dict(zip(("commit", "dirty"), code_state(ROOT), strict=True))


def warn(text: str) -> None:
    """Print a warning."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def keep(book: Path, row: ledger.Row) -> None:
    """Write the row; a ledger that cannot be written must not hide that the file was sent."""
    try:
        ledger.record(book, row)
    except UserError as e:
        raise UserError(f"{row['file']} was sent (number {row['ref']}), but not written down: {e}") from e


def resume(path: Path) -> str:
    """Say how to go on waiting."""
    return f"./run.sh submit submission={path} looks again, without sending it twice"


def report(path: Path, book: Path, score: Score, waited: float, kaggle: Kaggle) -> None:
    """Print the score, or raise a UserError that says why there is none."""
    if score.status == "pending":
        raise UserError(f"no score after {waited:.0f} s; {path} was sent; {resume(path)}")
    if score.status == "error":
        raise UserError(f"Kaggle took {path} but could not score it: {score.reason or 'it gave no reason'}")
    left = kaggle.left_today()
    today = "" if left is None else f"; {left} submissions left today"
    public, private = score.public or "not shown", score.private or "not shown"
    print(f"public {public}, private {private}{today}; wrote {book}; next: ./run.sh ledger")
