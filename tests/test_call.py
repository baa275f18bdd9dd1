"""A call as one would type it."""

from __future__ import annotations

import shlex

from nuclei.call import Call


def test_the_text_can_be_typed_again() -> None:
    call = Call("submission", ("name=a b", "message='it'"))
    assert shlex.split(call.text) == ["./run.sh", "submission", "name=a b", "message='it'"]
