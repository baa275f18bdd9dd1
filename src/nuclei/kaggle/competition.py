"""A competition on Kaggle: its files, submissions and scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from nuclei.errors import UserError
from nuclei.kaggle.api_errors import SITE, Unreachable
from nuclei.kaggle.client import Session
from nuclei.kaggle.transport import ticks
from nuclei.kaggle.unpack import check_space
from nuclei.progress import track


class Score(NamedTuple):
    """How a submission fared: ``status`` is ``pending``, ``complete`` or ``error``."""

    status: str
    public: str
    private: str
    reason: str


class Kaggle(Session):
    """One competition on Kaggle.

    Args:
        competition: its name in the address of its pages.
        patience: seconds without an answer after which a request has failed.
        retries: how often a broken transfer goes on.
    """

    def __init__(self, competition: str, patience: float, retries: int) -> None:
        super().__init__(competition, patience, retries)
        self.competition = competition

    def submit(self, path: Path, message: str) -> int:
        """Send a file and return the number that Kaggle gave the submission.

        Raises:
            UserError: it was not sent, or Kaggle refused it; nothing counts as submitted.
        """
        try:
            with self.open() as client:
                response = client.competition_submit(str(path), message, self.competition, quiet=True)
                if response.message == client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
                    raise Unreachable(f"the upload of {path} broke off ({self.upload_fault()}); try again")
        except Unreachable as e:
            if any(answer.startswith("PUT 20") for answer in self.answers):
                page = f"{SITE}/c/{self.competition}/submissions"
                raise Unreachable(f"{e}; it may have arrived all the same: look at {page} first") from e
            raise
        return int(response.ref)

    def score(self, ref: int, message: str) -> Score | None:
        """Look up a submission; None where Kaggle lists no such one.

        Args:
            ref: its number; with 0 the newest that has the same message.
            message: what it was sent with.
        """
        with self.open() as client:
            listed = client.competition_submissions(self.competition) or []
        for s in listed:
            if s.ref == ref or (not ref and s.description == message):
                return Score(
                    s.status.name.lower(), s.public_score, s.private_score, s.error_description or ""
                )
        return None

    def wait(self, ref: int, message: str, limit: float, poll: float) -> Score:
        """Look every ``poll`` seconds until there is a score, an error, or ``limit`` seconds are over.

        Raises:
            UserError: Kaggle refused; a fault that lasts until the end is raised as ``Unreachable``.
        """
        fault: Unreachable | None = None
        for _ in track(ticks(limit, poll), "waiting for the score", total=math.ceil(limit / poll) + 1):
            try:
                found = self.score(ref, message)
                fault = None
            except Unreachable as e:
                fault = e
                continue
            if found and found.status != "pending":
                return found
        if fault:
            raise fault
        return Score("pending", "", "", "")

    def left_today(self) -> int | None:
        """Return how many submissions remain today; None where Kaggle does not say."""
        try:
            with self.open() as client:
                return int(client.competition_get_submission_limits(self.competition).num_allowed_now)
        except UserError:
            return None  # only a courtesy: it must not spoil a submission that went well

    def download(self, folder: Path) -> Path:
        """Fetch all files of the competition as one zip into ``folder``; a broken download goes on.

        Raises:
            UserError: Kaggle refused, the network failed, or there is not enough space.
        """
        archive = folder / f"{self.competition}.zip"
        with self.open() as client:
            plain = client.download_file

            def fetch(response: Any, outfile: str, http: Any, quiet: bool, resume: bool) -> None:
                # The client names the file after the address, which need not end in .zip.
                folder.mkdir(parents=True, exist_ok=True)
                done = archive.stat().st_size if archive.exists() else 0
                check_space(folder, int(response.headers.get("Content-Length") or 0) - done)
                plain(response, str(archive), http, quiet, resume, max_retries=self.retries)

            client.download_file = fetch
            client.competition_download_files(self.competition, path=str(folder), quiet=True)
        return archive
