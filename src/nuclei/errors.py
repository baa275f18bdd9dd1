"""The one error a user meets: a line that says what was expected, what was got, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can correct; printed as one line, exit status 2, no traceback.

    Raise it with a full sentence that names the file or key, for example
    ``UserError("data/dsb2018 has no stage1_train.zip; run ./run.sh download")``.
    """


def nearest_name(name: str, names: Iterable[str]) -> str:
    """Return the name that ``name`` was most likely meant to be.

    A name that was given without its group counts as a full match.

    >>> nearest_name("max_epoch", ["fold", "trainer.max_epochs"])
    'trainer.max_epochs'
    """
    names = list(names)
    last_parts = {full.rsplit(".", 1)[-1]: full for full in reversed(names)}
    if close := get_close_matches(name, names, n=1, cutoff=0.75):
        return close[0]
    if close := get_close_matches(name.rsplit(".", 1)[-1], last_parts, n=1, cutoff=0.75):
        return last_parts[close[0]]
    return get_close_matches(name, names, n=1, cutoff=0)[0]
