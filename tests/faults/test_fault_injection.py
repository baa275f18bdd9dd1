"""Every command, struck at its changes of files: run again, it ends as if nothing had happened.

In short a few strikes for each command; ``./run.sh test faults`` strikes at every change, see ``LONG``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_pipeline import DATA, PIPELINE, Baseline, Strike, before, digests

HERE = Path(__file__).parent / "fault_injection"
LONG = os.environ.get("NUCLEI_STRIKES") == "all"
MOST = int(os.environ.get("NUCLEI_STRIKES_MOST", "60"))
"""Strikes of a kind at one command in the long form; prepare changes hundreds of files, which are alike."""
WRITING = [name for name, step in PIPELINE.items() if step.makes and name != "train fold 1"]
MEMORY = Path("/dev/shm")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds orphans through /proc")


class InterruptedCommand:
    """The folder of one command as it was before the command, to be struck in."""

    def __init__(self, baseline: Baseline, name: str, place: Path) -> None:
        self.finished, self.processes, self.expected = (
            baseline.finished,
            baseline.processes,
            baseline.expected,
        )
        self.step, self.place = PIPELINE[name], place
        before(self.finished, place, self.step)

    def strike(self, strike: Strike, temporary: Path | None = None) -> bool:
        """Run the command and strike it; return whether the strike met it, as it may end before."""
        left = set(self.parts())  # what an earlier kill left stays until its folder is written to again
        outcome = self.processes.run(self.place, self.step.words, strike, temporary)
        assert not outcome.orphans, f"{strike}: left processes behind"
        assert "Traceback" not in outcome.text, f"{strike}: {outcome.text}"
        if outcome.status == 0:
            return False
        assert outcome.status == {"kill": -9, "term": 143, "full": 2}[strike.fault], (
            f"{strike}: {outcome.text}"
        )
        if strike.fault == "full":
            last = outcome.text.splitlines()[-1]
            assert last.startswith("error: ") and "cannot write" in outcome.text, f"{strike}: {outcome.text}"
        if strike.fault != "kill":
            assert set(self.parts()) <= left, f"{strike}: {self.parts()}"
        return True

    def finish(self, temporary: Path | None = None) -> None:
        """Run the command undisturbed and compare all files with those of an undisturbed pipeline."""
        outcome = self.processes.run(self.place, self.step.words, None, temporary)
        assert outcome.status == 0 and not outcome.orphans, outcome.text
        found = digests(self.place)
        assert {n for n in found | self.expected if found.get(n) != self.expected.get(n)} == set()
        assert digests(self.finished) == self.expected, "a finished file was written to"

    def parts(self) -> list[str]:
        """Return the temporary files and folders that are left."""
        return [str(path.relative_to(self.place)) for path in self.place.rglob("*.part")]


def spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` numbers from 1 to ``count``, evenly spread, with both ends.

    >>> spread(9, 3)
    [1, 5, 9]
    """
    most = min(most, count)
    return [1 + n * (count - 1) // max(most - 1, 1) for n in range(most)]


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder for temporary files, on another file system than the tests' own where there is one."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", WRITING)
def test_a_command_that_was_struck_ends_as_if_nothing_had_happened(baseline, name, tmp_path, elsewhere):
    """Killed half-way, then on a full disk, then killed just before the end; then it is left alone."""
    interrupted = InterruptedCommand(baseline, name, tmp_path / "place")
    count = baseline.counts[name]
    strikes = [(count // 2, "kill"), (2, "full"), (count // 3, "kill")]
    met = [interrupted.strike(Strike(*where), elsewhere) for where in strikes]
    assert met[:2] == [True, True]
    interrupted.finish()


@pytest.mark.skipif(not LONG, reason="minutes to hours; ./run.sh test faults")
@pytest.mark.parametrize("number", range(MOST if LONG else 1))
@pytest.mark.parametrize("fault", ["kill", "full"])
@pytest.mark.parametrize("name", WRITING)
def test_struck_at_every_change(baseline, name, fault, number, tmp_path, elsewhere):
    """Killed with TMPDIR on another file system, on a full disk with TMPDIR on the same one."""
    changes = spread(baseline.counts[name], MOST)
    if number >= len(changes):
        pytest.skip(f"{name} makes {len(changes)} changes")
    interrupted, temporary = (
        InterruptedCommand(baseline, name, tmp_path / "place"),
        elsewhere if fault == "kill" else None,
    )
    interrupted.strike(Strike(changes[number], fault), temporary)
    interrupted.finish(temporary)
    shutil.rmtree(interrupted.place)


@pytest.mark.parametrize("name", ["validate", "score"])
def test_a_command_that_shows_something_writes_nothing(baseline, name, tmp_path):
    before(baseline.finished, tmp_path / "place", PIPELINE[name])
    outcome = baseline.processes.run(tmp_path / "place", PIPELINE[name].words, Strike(1, "full"))
    assert (outcome.status, outcome.changes) == (0, []), outcome.text


LAST_EVENTS = [
    (2, r"os\.remove .*last\.ckpt"),
    *((1, rf"os\.remove .*{n}") for n in ("safetensors", "oof", "done")),
]


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a second file system for TMPDIR")
def test_a_training_struck_after_each_of_its_last_files_with_tmpdir_on_another_disk(
    baseline, tmp_path, elsewhere
):
    """Last checkpoint, weights, maps, result: each just renamed; weights, maps, metrics end the same."""
    interrupted = InterruptedCommand(baseline, "train", tmp_path / "place")
    assert elsewhere.stat().st_dev != tmp_path.stat().st_dev
    for number, match in LAST_EVENTS:
        assert interrupted.strike(Strike(number, "kill", match), elsewhere), match
    interrupted.finish(elsewhere)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("fault", ["term", "kill"])
def test_prepare_that_is_struck_while_its_processes_work_leaves_none_behind(baseline, fault, tmp_path):
    interrupted = InterruptedCommand(baseline, "prepare", tmp_path / "place")
    (interrupted.place / "data").mkdir(exist_ok=True)
    words = (*interrupted.step.words[:-1], "workers=2")
    strike = Strike(2, fault, r"open .*demo\.store")
    outcome = interrupted.processes.run(interrupted.place, words, strike)
    assert outcome.status == {"term": 143, "kill": -9}[fault] and not outcome.orphans, outcome
    interrupted.finish()


def test_any_command_can_be_struck_through_the_door(baseline, tmp_path):
    """The same through ./run.sh, in a Python of its own, by variables of the environment."""
    before(baseline.finished, tmp_path / "place", PIPELINE["folds"])
    env = os.environ | {"NUCLEI_PYTHON": sys.executable, "PYTHONPATH": str(HERE), "STRIKE_NUMBER": "3"}
    env |= {"STRIKE_ROOT": str(tmp_path / "place"), "STRIKE_LOG": str(tmp_path / "log")}
    door = str(HERE.parents[2] / "run.sh")
    words = [door, "folds", *DATA, "n_folds=2"]
    struck = subprocess.run(words, cwd=tmp_path / "place", env=env, capture_output=True)
    assert struck.returncode == -9 and len((tmp_path / "log").read_text().splitlines()) == 3, struck
    full = subprocess.run(
        words, cwd=tmp_path / "place", env=env | {"STRIKE_FAULT": "full"}, capture_output=True
    )
    assert (
        full.returncode == 2
        and b"error: cannot write data/demo_folds.csv.sha256: No space left" in full.stderr
    )
    plain = {name: value for name, value in env.items() if name != "STRIKE_ROOT"}
    subprocess.run(words, cwd=tmp_path / "place", env=plain, check=True, capture_output=True)
    assert digests(tmp_path / "place") == baseline.expected
