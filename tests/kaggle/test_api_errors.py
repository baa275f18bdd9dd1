"""Refusals are explained by Kaggle's own words, or by their likely causes."""

from __future__ import annotations

import json

import pytest
from requests import HTTPError, Response

from nuclei.kaggle.api_errors import COMPETITION, Unreachable, explain_refusal


def answer(status: int, reason: str, message: str = "") -> HTTPError:
    response = Response()
    response.status_code, response.reason = status, reason
    response._content = json.dumps({"code": status, "message": message}).encode() if message else b""
    return HTTPError(response=response)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("You must accept this competition's rules", "rules"),
        ("Please verify your phone number", "account"),
        ("Your team has used its daily Submission allowance (5)", "limit"),
        ("Submission limit exceeded", "limit"),
        ("Competition not found", "name"),
        ("The deadline of this competition has passed", "closed"),
        ("This competition is not accepting submissions", "closed"),
    ],
)
def test_kaggles_own_words_decide(message: str, cause: str) -> None:
    shown = str(explain_refusal(answer(400, "Bad Request", message), "bowl"))
    assert message in shown
    named = [name for name, (_, text) in COMPETITION.patterns.items() if text.format("bowl") in shown]
    assert named == [cause]


@pytest.mark.parametrize(("status", "first"), [(400, "daily limit"), (403, "rules"), (404, "mistyped")])
def test_without_words_the_likeliest_cause_comes_first(status: int, first: str) -> None:
    shown = str(explain_refusal(answer(status, "Refused"), "bowl"))
    assert first in shown.split(";")[1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_that_pass_are_told_apart(status: int) -> None:
    assert isinstance(explain_refusal(answer(status, "Fault"), "bowl"), Unreachable)


def test_a_401_says_where_the_token_goes() -> None:
    assert "https://www.kaggle.com/settings/api" in str(explain_refusal(answer(401, "Unauthorized"), "bowl"))
