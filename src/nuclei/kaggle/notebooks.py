"""A user's dataset and notebooks on Kaggle: sent, waited for, and their output fetched."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nuclei.errors import UserError
from nuclei.kaggle.api_errors import NOTEBOOKS, SITE, Unreachable
from nuclei.kaggle.client import Session
from nuclei.kaggle.transport import ticks
from nuclei.progress import track

ABSENT = (403, 404)  # how Kaggle answers for what is not there, or is somebody else's
SAFE = r"^(?!/)(?!.*(^|/)\.\.(/|$))"  # names that stay in their folder


class Dataset(Session):
    """One dataset, ``OWNER/SLUG``."""

    causes = NOTEBOOKS

    def version(self) -> int | None:
        """Return its newest version; None where there is no such dataset."""
        from requests import HTTPError

        with self.open() as client:
            try:
                return int(
                    json.loads(client.dataset_status(self.subject, format="json"))["current_version_number"]
                )
            except HTTPError as e:
                if e.response is not None and e.response.status_code in ABSENT:
                    return None
                raise

    def send(self, folder: Path, notes: str, new: bool) -> None:
        """Make the dataset, or a new version of it, of the files in ``folder``.

        Raises:
            UserError: a file did not arrive, or Kaggle refused; there is then no new version.
        """
        quiet = not sys.stderr.isatty()
        with self.open() as client:
            plain = type(client).upload_files

            def upload(request: Any, *rest: Any) -> None:
                # The client would leave out a file whose upload broke off, and go on without it.
                plain(client, request, *rest)
                if len(request.files) < len([p for p in folder.iterdir() if p.suffix != ".json"]):
                    raise Unreachable(
                        f"the upload to {self.subject} broke off ({self.upload_fault()}); try again"
                    )

            client.upload_files = upload
            response = (
                client.dataset_create_new(str(folder), quiet=quiet)
                if new
                else client.dataset_create_version(str(folder), notes, quiet=quiet)
            )
        if response.error or response.status.lower() == "error":
            raise UserError(
                f"Kaggle refused the dataset {self.subject}: {response.error or 'it gave no reason'}"
            )

    def wait(self, after: int, limit: float, poll: float) -> int:
        """Wait until a version above ``after`` can be used, and return it.

        Raises:
            UserError: Kaggle could not process it, or ``limit`` seconds are over.
        """

        def look() -> int | None:
            with self.open() as client:
                found = json.loads(client.dataset_status(self.subject, format="json"))
            if found["status"] in ("failed", "deleted"):
                raise UserError(
                    f"Kaggle could not process {self.subject}: {found['status']}; see {SITE}/{self.subject}"
                )
            version = int(found["current_version_number"])
            return version if found["status"] == "ready" and version > after else None

        return _until(look, f"waiting for the dataset {self.subject}", limit, poll)


class Notebook(Session):
    """One notebook, ``OWNER/SLUG``."""

    causes = NOTEBOOKS

    def send(self, folder: Path) -> str:
        """Push the notebook in ``folder``, which starts it, and return its address.

        Raises:
            UserError: Kaggle refused it, or one of its inputs.
        """
        with self.open() as client:
            response = client.kernels_push(str(folder))
        if response.error:
            raise UserError(f"Kaggle refused the notebook {self.subject}: {response.error}")
        if lacking := [*response.invalid_dataset_sources, *response.invalid_competition_sources]:
            raise UserError(
                f"{self.subject} was pushed without its input {', '.join(lacking)}: accept the rules, "
                "check the names in configs/push.yaml, and push again"
            )
        return response.url or f"{SITE}/code/{self.subject}"

    def wait(self, limit: float, poll: float) -> tuple[str, str]:
        """Wait for the run to end; return its status, such as ``complete``, and the message of a failure.

        Raises:
            UserError: it has not ended after ``limit`` seconds.
        """
        from requests import HTTPError

        def look() -> tuple[str, str] | None:
            with self.open() as client:
                try:
                    found = client.kernels_status(self.subject)
                except ValueError as e:  # the client's wording of a refusal
                    raise (e.__context__ if isinstance(e.__context__, HTTPError) else e) from None
            name = found.status.name.lower()
            return (
                (name, found.failure_message or "")
                if name not in ("queued", "running", "new_script")
                else None
            )

        return _until(look, f"waiting for {self.subject}", limit, poll)

    def fetch(self, folder: Path) -> list[Path]:
        """Fetch the output and the log of the last run into ``folder``; return the files.

        Raises:
            UserError: a file did not arrive whole.
        """
        with self.open() as client:
            files, _ = client.kernels_output(self.subject, str(folder), file_pattern=SAFE, force=True)
            if broken := [a for a in self.answers if a.startswith("GET ") and not a.startswith("GET 20")]:
                raise Unreachable(f"the output of {self.subject} did not arrive ({broken[0]}); try again")
        return [Path(file) for file in files]


def _until(look: Callable[[], Any], name: str, limit: float, poll: float) -> Any:
    """Look every ``poll`` seconds until there is something; a passing fault counts as nothing.

    Raises:
        UserError: there is nothing after ``limit`` seconds.
    """
    fault: Unreachable | None = None
    for _ in track(ticks(limit, poll), name, total=math.ceil(limit / poll) + 1):
        try:
            if (found := look()) is not None:
                return found
            fault = None
        except Unreachable as e:
            fault = e
    raise fault or UserError(f"{name}: not done after {limit:.0f} s")
