"""Explanations of Kaggle's refusals: the likely causes, and the page to open for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nuclei.errors import UserError

if TYPE_CHECKING:
    from requests import HTTPError, Response

SITE = "https://www.kaggle.com"
TOKEN = (
    f"make a token at {SITE}/settings/api and put it into ~/.kaggle/access_token or the variable "
    "KAGGLE_API_TOKEN (an older kaggle.json in ~/.kaggle, or KAGGLE_USERNAME with KAGGLE_KEY, will do too)"
)


@dataclass(frozen=True)
class Causes:
    """The possible causes of a refusal.

    Attributes:
        patterns: for each cause a pattern of Kaggle's messages, and the advice to the user.
        by_status: the causes of a status that comes without a message, the likeliest first.
    """

    patterns: Mapping[str, tuple[str, str]]
    by_status: Mapping[int, tuple[str, ...]]


COMPETITION = Causes(
    {
        "rules": (
            r"\brules?\b|\baccept\b",
            f"the rules are not accepted: accept them at {SITE}/c/{{0}}/rules",
        ),
        "account": (r"verif|phone|identity", f"phone or account not verified: see {SITE}/settings"),
        "limit": (
            r"limit|per day|daily|too many|maximum|exceed|quota",
            f"the daily limit is reached: try again after midnight UTC, see {SITE}/c/{{0}}/submissions",
        ),
        "name": (
            r"not found|no such|does not exist|cannot find|could not find|unknown competition",
            f"the competition's name is mistyped (kaggle.competition={{0}}): see {SITE}/competitions",
        ),
        "closed": (
            r"closed|deadline|ended|no longer|not accepting|is over|late sub",
            f"the competition is closed and takes no such late submissions: see {SITE}/c/{{0}}",
        ),
    },
    {
        400: ("limit", "rules", "account", "closed", "name"),
        403: ("rules", "account", "closed", "limit", "name"),
        404: ("name", "closed", "rules"),
    },
)
NOTEBOOKS = Causes(
    {
        "account": COMPETITION.patterns["account"],
        "limit": (r"limit|too many|maximum|exceed|quota", f"a quota is used up: see {SITE}/settings"),
        "owner": (
            r"permission|denied|forbidden|owner|not found|cannot access",
            "the account that is signed in has no {0}: owner=NAME must be its name, as in the address of "
            "its profile",
        ),
    },
    {400: ("account", "limit", "owner"), 403: ("owner", "account"), 404: ("owner",)},
)


class Unreachable(UserError):
    """A fault that may pass by itself: the network, a time limit, an error on Kaggle's side."""


@contextmanager
def explain_errors(subject: str, causes: Causes = COMPETITION) -> Iterator[None]:
    """Turn whatever the client raises into one line.

    Args:
        subject: the name of the competition, dataset or notebook.
        causes: the possible causes of a refusal.

    Raises:
        Unreachable: no network, no answer in time, or an answer 429 or 5xx.
        UserError: Kaggle refused, or the local disk did, or the answer makes no sense.
    """
    from requests import HTTPError, RequestException
    from requests.exceptions import InvalidJSONError

    try:
        yield
    except (UserError, ImportError):
        raise
    except HTTPError as e:
        raise explain_refusal(e, subject, causes) from e
    except InvalidJSONError as e:
        raise _senseless_answer(e) from e
    except RequestException as e:
        raise Unreachable(
            f"cannot reach Kaggle: {innermost_reason(e)}; check the network and try again"
        ) from e
    except OSError as e:
        place = e.filename or "the disk"
        raise UserError(
            f"cannot use {place}: {e.strerror or e}; free some space or correct its rights"
        ) from e
    except Exception as e:
        raise _senseless_answer(e) from e


def explain_refusal(error: HTTPError, subject: str, causes: Causes = COMPETITION) -> UserError:
    """Return an error with the likely causes of a refused request.

    Kaggle's own message decides where there is one; else all causes are listed, the likeliest first.
    """
    response = error.response
    if response is None:
        return Unreachable(f"Kaggle refused: {error}")
    status, message = response.status_code, _message(response)
    answer = f"Kaggle answered {status} {response.reason}" + (f" ('{message}')" if message else "")
    if status == 401:
        return UserError(f"{answer}: it does not know these credentials; {TOKEN}")
    if status == 429 or status >= 500:
        return Unreachable(f"{answer}: a fault or too many requests; try again in some minutes")
    matching = [advice for pattern, advice in causes.patterns.values() if re.search(pattern, message, re.I)]
    likely = causes.by_status.get(status, causes.by_status[400])
    advices = matching or [causes.patterns[cause][1] for cause in likely]
    prefix = "" if matching else "known causes: "
    return UserError(f"{answer}; {prefix}{'; or '.join(advices).format(subject)}")


def innermost_reason(error: BaseException) -> str:
    """Return the innermost reason of a network fault; the outer errors repeat the address only."""
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    return " ".join(str(inner).split())[:300] or type(error).__name__


def _message(response: Response) -> str:
    """Return Kaggle's own message in a refusal, without line ends; empty where there is none."""
    try:
        body = response.json()
        text = str(body.get("message") or body.get("error") or "")
    except (ValueError, AttributeError):
        text = "" if "<" in response.text else response.text
    text = " ".join(text.split())[:300]
    return "" if text.lower() == str(response.reason).lower() else text


def _senseless_answer(error: Exception) -> UserError:
    return UserError(
        f"cannot make sense of Kaggle's answer ({type(error).__name__}: {error}); "
        "does a proxy or a log-in page stand between?"
    )
