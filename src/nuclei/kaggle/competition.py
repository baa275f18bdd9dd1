"""A competition on Kaggle: fetch its files, send a submission, wait for the score."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from kagglesdk.competitions.types.competition_api_service import (
    ApiCreateSubmissionRequest,
    ApiDownloadDataFilesRequest,
    ApiGetSubmissionLimitsRequest,
    ApiListSubmissionsRequest,
    ApiStartSubmissionUploadRequest,
)

from nuclei.errors import UserError
from nuclei.kaggle.client import SITE, KaggleSession, Refused, Unfinished, poll_until
from nuclei.kaggle.ledger import LedgerRow, newest_row, write_row
from nuclei.paths import PROGRAM
from nuclei.submission.csv_files import ExpectedImages
from nuclei.submission.make_submission import SubmissionRecord, read_record, sha256_of
from nuclei.submission.rules import find_violations
from nuclei.training.environment import code_state

MOST_PAGES = 100  # of the list of submissions


@dataclass(frozen=True)
class Score:
    """The state of a submission: ``pending``, ``complete`` or ``error``; a hidden score is empty."""

    status: str
    public: str = ""
    private: str = ""
    reason: str = ""
    ref: str = ""


def _number(ref: object) -> str:
    """Return the number of a submission as text, empty where an answer has none."""
    return str(ref) if str(ref).isdecimal() and int(str(ref)) else ""


class Competition(KaggleSession):
    """One competition on Kaggle; for the arguments see ``KaggleSession``."""

    def upload_submission(self, path: Path) -> str:
        """Send a file to Kaggle's storage, and return the token by which it can be submitted."""
        state, body = path.stat(), {"competitionName": self.subject, "fileName": path.name}
        file = {"contentLength": state.st_size, "lastModifiedEpochSeconds": int(state.st_mtime)}
        request = ApiStartSubmissionUploadRequest.from_dict(body | file)
        with self.open() as client:
            target = client.competitions.competition_api_client.start_submission_upload(request)
            self.upload(path, target.create_url)
        return str(target.token)

    def create_submission(self, token: str, message: str) -> str:
        """Submit an uploaded file; return the number that Kaggle gave it, empty where the answer has none.

        Raises:
            Refused: Kaggle refused; nothing counts as submitted.
            UserError: the answer was lost or makes no sense; the submission may have arrived.
        """
        body = {"competitionName": self.subject, "blobFileTokens": token, "submissionDescription": message}
        request = ApiCreateSubmissionRequest.from_dict(body)
        with self.open() as client:
            return _number(client.competitions.competition_api_client.create_submission(request).ref)

    def score(self, ref: str, message: str) -> Score | None:
        """Return the state of the submission with this number, or with the last word of this message.

        None where Kaggle lists no such submission.
        """
        request = ApiListSubmissionsRequest.from_dict({"competitionName": self.subject})
        word, seen = message.rpartition(" ")[2], set[str]()
        for request.page in range(1, MOST_PAGES + 1):
            with self.open() as client:
                listed = client.competitions.competition_api_client.list_submissions(request).submissions
            for s in listed or []:
                if (ref and _number(s.ref) == ref) or word in (s.description or ""):
                    shown = s.public_score or "", s.private_score or "", s.error_description or ""
                    return Score(s.status.name.lower(), *shown, ref=_number(s.ref))
            known = {f"{s.ref} {s.description}" for s in listed or []}
            if known <= seen:  # the list is at its end, or the server knows no pages
                break
            seen |= known
        return None

    def wait_for_score(self, ref: str, message: str, limit: float, interval: float) -> Score:
        """Look every ``interval`` seconds for a score or an error; raise a fault of ``limit`` seconds."""

        def look() -> Score | None:
            score = self.score(ref, message)
            return score if score and score.status != "pending" else None

        try:
            return poll_until(look, "waiting for the score", limit, interval)
        except Unfinished:
            return Score("pending")

    def submissions_left_today(self) -> int | None:
        """Return how many submissions remain today; None where Kaggle does not say."""
        request = ApiGetSubmissionLimitsRequest.from_dict({"competitionName": self.subject})
        try:
            with self.open() as client:
                limits = client.competitions.competition_api_client.get_submission_limits(request)
                return int(limits.num_allowed_now)
        except UserError:
            return None  # only a courtesy: it must not spoil a submission that went well

    def download_files(self, folder: Path) -> Path:
        """Fetch the competition's files as one zip into ``folder``, unless it is there; return its path."""
        archive = folder / f"{self.subject}.zip"
        if not archive.exists():
            request = ApiDownloadDataFilesRequest.from_dict({"competitionName": self.subject})
            with self.open() as client:
                response = client.competitions.competition_api_client.download_data_files(request)
                self.download(response, archive)
        print(f"downloaded {self.subject}, {archive.stat().st_size / 1e6:.0f} MB")
        return archive


def find_submission(folder: Path, path: str | None, name: str | None) -> Path:
    """Return the submission of a path, or of a name in ``folder``; refuse one that is not there."""
    if not path and not name:
        names = ", ".join(sorted(p.stem for p in folder.glob("*.csv") if p.name != "ledger.csv")) or "none"
        raise UserError(
            f"which submission? give submission=PATH, or name=NAME of one in {folder} (there: {names})"
        )
    file = Path(path) if path else folder / f"{name}.csv"
    if not file.is_file():
        raise UserError(f"there is no submission {file}; run ./run.sh submission, or correct the path")
    return file


def refuse_invalid(path: Path, images: ExpectedImages) -> None:
    """Raise a UserError with the first violation of the competition's rules, before anything is sent."""
    if violations := find_violations(path, images.shapes):
        raise UserError(
            f"{path} is not valid for the images of {images.source}, {len(violations)} violations; "
            f"{violations[0]}; nothing was sent; ./run.sh validate submission={path} lists all"
        )


@dataclass(frozen=True)
class Submission:
    """A file that is sent to a competition once, and its row in the ledger.

    The commit of the project's folder ``root`` stands in for a record of how the file was made.
    """

    path: Path
    competition: Competition
    ledger: Path
    root: Path

    @property
    def _resume(self) -> str:
        return f"./run.sh submit submission={self.path} looks again, without sending it twice"

    def send(self, message: str | None, again: bool) -> LedgerRow:
        """Send the file and write its row; a file whose score is still to come is not sent again.

        Args:
            message: what Kaggle shows beside the score; by default the file's name and the commit.
            again: whether to send a file that was sent and judged, which otherwise is an error.
        """
        with one_at_a_time(self.ledger.with_name(".submit.lock"), "submission is being sent"):
            return self._sent_before(again) or self._send(message)

    def _send(self, message: str | None) -> LedgerRow:
        """Send the file; its row is written before, so that whatever happens the next call can look it up."""
        record = read_record(self.path) or self._unrecorded()
        changed = record.dirty == "yes"
        if changed:
            _warn(
                f"{self.path} was made by code that differs from commit {record.commit[:8]}: "
                "it cannot be made again"
            )
        if (left := self.competition.submissions_left_today()) is not None:
            print(f"{left} submissions left today", flush=True)
        default = f"{self.path.stem} {record.commit[:8]}{' and changes' if changed else ''}".strip()
        row = LedgerRow.of_submission(self.path, record, message or default)
        token = self.competition.upload_submission(self.path)
        if sha256_of(self.path) != row.sha256:
            raise UserError(f"{self.path} has changed while it was sent; nothing was submitted; try again")
        try:
            write_row(self.ledger, row)
        except UserError as e:
            raise UserError(f"{e}; nothing was sent") from e
        try:
            ref = self.competition.create_submission(token, row.message)
        except Refused:
            with suppress(UserError):  # a full disk does not hide the refusal; the next call looks the row up
                write_row(self.ledger, row, remove=True)
            raise
        except UserError as e:
            raise UserError(f"{e}; {self.path} may have arrived all the same: {self._resume}") from e
        row = replace(row, status="pending", ref=ref)
        self._keep(row)
        print(f"sent {self.path} to {self.competition.subject} as '{row.message}'", flush=True)
        return row

    def _sent_before(self, again: bool) -> LedgerRow | None:
        """Return the row of a file whose score is still to come; refuse one that was judged."""
        row = newest_row(self.ledger, sha256_of(self.path))
        if row is None:
            return None
        if row.status in ("sending", "pending"):
            if score := self._listed(row):
                print(f"{row.file} was sent on {row.date}; waiting for that score", flush=True)
                row = replace(row, status="pending", ref=score.ref or row.ref)
                self._keep(row)
                return row
            if row.status == "sending":
                write_row(self.ledger, row, remove=True)  # it did not arrive
                return None
        if again:
            return None
        state = f"public {row.public}, private {row.private}" if row.public else row.status
        if row.status == "pending":
            state = f"{SITE}/c/{self.competition.subject}/submissions does not list it"
        raise UserError(
            f"the same file was sent as {row.file} on {row.date} ({state}); "
            "it would score the same; again=true sends it all the same"
        )

    def _listed(self, row: LedgerRow) -> Score | None:
        """Look for a submission; one of the last minutes may still be at work on Kaggle's side."""
        age = (datetime.now(UTC) - datetime.fromisoformat(row.date)).total_seconds()
        limit, interval = max(0.0, 2 * self.competition.timeout - age), self.competition.timeout / 10
        look = partial(self.competition.score, row.ref, row.message)
        try:
            return poll_until(look, f"looking for {row.file} in the list of submissions", limit, interval)
        except Unfinished:
            return None

    def _unrecorded(self) -> SubmissionRecord:
        """Warn that the file has no record; return one of the code that is here."""
        _warn(f"no record of how {self.path} was made, so the ledger will not name its members and scores")
        commit, dirty = code_state(self.root)
        return SubmissionRecord(commit=commit, dirty=dirty)

    def _keep(self, row: LedgerRow) -> None:
        """Write the row; a ledger that cannot be written must not hide that the file was sent."""
        try:
            write_row(self.ledger, row)
        except UserError as e:
            raise UserError(f"{row.file} was sent (number {row.ref}), but not written down: {e}") from e

    def wait(self, row: LedgerRow, limit: float, interval: float) -> None:
        """Wait for the score, write it into the ledger, print it; raise after ``limit`` seconds."""
        try:
            score = self.competition.wait_for_score(row.ref, row.message, limit, interval)
        except UserError as e:
            raise UserError(
                f"{self.path} was sent, but its score could not be read: {e}; {self._resume}"
            ) from e
        ref, state = score.ref or row.ref, score.status
        self._keep(replace(row, public=score.public, private=score.private, status=state, ref=ref))
        if score.status == "pending":
            raise UserError(f"no score after {limit:.0f} s; {self.path} was sent; {self._resume}")
        if score.status == "error":
            reason = score.reason or "it gave no reason"
            raise UserError(f"Kaggle took {self.path} but could not score it: {reason}")
        left = self.competition.submissions_left_today()
        today = "" if left is None else f"; {left} submissions left today"
        public, private = score.public or "not shown", score.private or "not shown"
        print(f"public {public}, private {private}{today}; wrote {self.ledger}; next: {PROGRAM} ledger")


@contextmanager
def one_at_a_time(path: Path, work: str) -> Iterator[None]:
    """Hold a lock; where another process has it, say which ``work`` is waited for.

    Raises:
        UserError: the folder cannot be written.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another {work}; waiting for it", flush=True)
        lock.acquire()
    except OSError as e:
        raise UserError(f"cannot write {path.parent}: {e.strerror or e}; correct its rights") from e
    try:
        yield
    finally:
        lock.release()


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
