"""Progress is shown where there is time for it; results come in order, from processes that end in time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.data.folds import read_folds
from nuclei.errors import UserError
from nuclei.progress import parallel_map, report_progress, track


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


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(parallel_map(abs, range(-9, 0), workers, chunksize=2)) == list(range(9, 0, -1))


def test_one_worker_is_this_process():
    assert list(parallel_map(lambda _: os.getpid(), [0], 1)) == [os.getpid()]


def test_threads_of_opencv_here_do_not_stop_the_others():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        cv2.resize(np.zeros((2048, 2048), np.float32), (4000, 4000))  # begins the threads
        time.sleep(0.3)  # they fall asleep; a fork that inherits them would wait for ever
        assert list(parallel_map(cv2.setNumThreads, [1] * 4, 2, chunksize=1)) == [None] * 4
    finally:
        cv2.setNumThreads(before)


def test_an_error_there_is_raised_here(tmp_path):
    with pytest.raises(UserError, match="no folds file"):
        list(parallel_map(read_folds, [tmp_path / "no.csv"] * 2, 2))


def children(pid):
    """The process numbers of a process' children; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def is_worker(pid):
    """Whether a spawned process runs; its number may have gone to another one."""
    try:
        return "multiprocessing" in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_end_when_their_parent_is_killed():
    code = "import time; from nuclei.progress import parallel_map\n"
    code += "for _ in parallel_map(time.sleep, [0.01] + [99] * 9, 2, chunksize=1): print('busy', flush=True)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout.readline() == b"busy\n"
        workers = children(parent.pid)
        assert len(workers) >= 2
        parent.kill()
    deadline = time.monotonic() + 60
    while any(map(is_worker, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
