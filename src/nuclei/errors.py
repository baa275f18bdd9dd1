"""The one error a user meets: a line that says what was expected, what was got, and what to do."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; printed as one line, exit status 2, no traceback.

    Raise it with a full sentence that names the file or key, for example
    ``UserError("data/dsb2018 has no stage1_train.zip; run ./run.sh download")``.
    """
