"""Progress is printed only by what takes long, or handed on."""

import sys

import pytest

from nuclei.progress import report_progress, track


class Terminal:
    """Standard error as a terminal has it."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_items_pass_through_and_a_short_loop_prints_nothing(capsys):
    assert list(track("abc", "letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_plain_lines_tell_the_remaining_time(capsys):
    list(track([1, 2], "work", interval_s=0))
    list(track(iter([1, 2]), "stream", total=4, interval_s=0))
    list(track((n for n in range(1)), "unknown", interval_s=0))
    assert capsys.readouterr().err.splitlines() == [
        "work: 1/2, 0 s, 0 s left",
        "work: 2/2, 0 s, 0 s left",
        "stream: 1/4, 0 s, 0 s left",
        "stream: 2/4, 0 s, 0 s left",
        "unknown: 1/?, 0 s",
    ]


def test_a_short_loop_shows_no_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track([1, 2], "work")) == [1, 2]
    assert "work" not in terminal.text


def test_reports_end_with_their_context_even_after_an_error(capsys):
    calls = []
    with pytest.raises(ZeroDivisionError), report_progress(lambda *call: calls.append(call)):
        list(track([5, 7], "sum"))
        raise ZeroDivisionError
    list(track([1], "later"))
    assert calls == [(1, 2, "sum"), (2, 2, "sum")]
