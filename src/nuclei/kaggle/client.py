"""A session with Kaggle: the real ``kaggle`` client, with time limits and errors that say what to do.

The client is imported when it is first needed: its import signs in, prints, and may end the process.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any

from nuclei.kaggle.api_errors import COMPETITION, Causes, explained
from nuclei.kaggle.credentials import signed_in
from nuclei.kaggle.transport import limits


class Session:
    """Opens the client for one request or a few.

    Args:
        subject: what the requests are about, such as a competition's name.
        patience: seconds without an answer after which a request has failed.
        retries: how often a broken transfer goes on.
    """

    causes: Causes = COMPETITION

    def __init__(self, subject: str, patience: float, retries: int) -> None:
        self.subject = subject
        self.patience = patience
        self.retries = retries
        self.answers: list[str] = []
        self.said = io.StringIO()
        self._client: Any = None

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Yield the client, signed in, with its prints kept off the screen and its errors explained."""
        self.said = io.StringIO()
        with (
            redirect_stdout(self.said),
            explained(self.subject, self.causes),
            limits(self.patience, self.retries) as self.answers,
        ):
            if self._client is None:
                self._client = signed_in()
                self._client.MAX_UPLOAD_RESUME_ATTEMPTS = self.retries + 1
                self._client.with_retry = partial(self._client.with_retry, max_retries=self.retries + 1)
            yield self._client

    def upload_fault(self) -> str:
        """Say why an upload broke off: the client prints a fault, and drops the answer of the storage."""
        printed = " ".join(self.said.getvalue().split())[-300:]
        return printed or f"the answer was {self.answers[-1].removeprefix('PUT ')}"
