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

    A name that was given without its group counts as a full match, and so do a word of it, in the plural or
    not, and what it abbreviates, as ``lr`` does ``learning_rate``. Of several the one of the fewest words is
    meant, then the one in the fewest groups.

    >>> nearest_name("epochs", ["fold", "data.budget.max_epochs", "trainer.max_epochs"])
    'trainer.max_epochs'
    """
    names = sorted(names, key=lambda full: full.count("."))
    last_parts = {full.rsplit(".", 1)[-1]: full for full in reversed(names)}
    if close := get_close_matches(name, names, n=1, cutoff=0.75):
        return close[0]
    last = name.rsplit(".", 1)[-1]
    if close := get_close_matches(last, last_parts, n=1, cutoff=0.8):
        return last_parts[close[0]]
    initials = "".join(word[:1] for word in last.split("_"))
    words = {full: full.rsplit(".", 1)[-1].split("_") for full in names}
    wanted = {last, last.removesuffix("s"), f"{last}s"}
    if whole := [full for full in names if wanted & {*words[full]} or (initials == words[full][0] != last)]:
        return min(whole, key=lambda full: len(words[full]))
    return get_close_matches(name, names, n=1, cutoff=0)[0]


class Terminated(BaseException):
    """The process was asked to end by SIGTERM; what is under way is put in order first."""
