"""What is known of a submission: who made it, from which code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.paths import RunName
from nuclei.submission import submission_record as record

STEP = {"_target_": "nuclei.postprocess.small_objects.RemoveSmall", "min_area": 29, "trees": "A"}
MEMBERS = (WeightedRun(RunName("unet", "cpu"), 0.75), WeightedRun(RunName("otsu", "x"), 0.0))
ENSEMBLE = EnsembleFile("demo", "0", 2, ("nucleus",), MEMBERS, (STEP,), 0.5, 0.51)


def test_a_record_belongs_to_the_very_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    assert record.read_record(path) == {}
    record.write_record(path, record.made_by(ENSEMBLE, tmp_path, "x"))
    assert record.read_record(path) == {
        "commit": "",
        "dirty": "",
        "command": "x",
        "members": "unet/cpu",
        "weights": "0.75",
        "postprocess": "RemoveSmall(min_area=29,trees=559aead08264)",
        "oof_nested": "0.5",
        "oof_tuned": "0.51",
    }
    path.write_text("2")
    assert record.read_record(path) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "x", "commit": "y"}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    path.with_suffix(".json").write_text(text.replace('"x"', json.dumps(record.digest(path))))
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        record.read_record(path)


def git(folder: Path, *words: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *name, *words], check=True, capture_output=True)


def test_code_state_sees_changes_but_not_the_ledger(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "submissions").mkdir()
    for name in ("code.py", "submissions/ledger.csv", "submissions/sent.csv"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    (tmp_path / "submissions/ledger.csv").write_text("2")
    (tmp_path / "submissions/sent.csv").write_text("2")
    (tmp_path / "submissions/new.csv").write_text("2")
    commit, dirty = record.code_state(tmp_path)
    assert len(commit) == 40 and dirty == "no"
    (tmp_path / "code.py").write_text("2")
    assert record.code_state(tmp_path) == (commit, "yes")


def test_code_state_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert record.code_state(tmp_path) == ("", "")
    monkeypatch.setenv("PATH", "")
    assert record.code_state(tmp_path) == ("", "")


def test_code_state_of_a_copy_without_git(tmp_path: Path) -> None:
    (tmp_path / record.COMMIT).write_text('{"commit": "abc", "dirty": "no"}')
    assert record.code_state(tmp_path) == ("abc", "no")
