"""The record of how a submission was made, and of the code that made it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.paths import RunName
from nuclei.submission import make_submission
from nuclei.submission.make_submission import (
    COMMIT,
    SubmissionRecord,
    code_state,
    describe_ensemble,
    read_record,
    sha256_of,
    write_record,
)

STEP = {"_target_": "nuclei.postprocess.components.RemoveSmall", "min_area": 29, "trees": "A"}
MEMBERS = (WeightedRun(RunName("unet", "cpu"), 0.75), WeightedRun(RunName("otsu", "x"), 0.0))
ENSEMBLE = EnsembleFile("demo", "0", 2, ("nucleus",), MEMBERS, (STEP,), 0.5, 0.51)


def test_a_record_belongs_to_the_very_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    assert read_record(path) is None
    write_record(path, describe_ensemble(ENSEMBLE, "./run.sh submission 'name=a b'", tmp_path))
    assert read_record(path) == SubmissionRecord(
        command="./run.sh submission 'name=a b'",
        members="unet/cpu",
        weights="0.75",
        postprocess="RemoveSmall(min_area=29,trees=559aead08264)",
        oof_nested="0.5",
        oof_tuned="0.51",
    )
    path.write_text("2")
    assert read_record(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "x", "commit": "y"}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    path.with_suffix(".json").write_text(text.replace('"x"', json.dumps(sha256_of(path))))
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        read_record(path)


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
    commit, dirty = code_state(tmp_path)
    assert len(commit) == 40 and dirty == "no"
    (tmp_path / "code.py").write_text("2")
    assert code_state(tmp_path) == (commit, "yes")


def test_code_state_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_state(tmp_path) == ("", "")
    monkeypatch.setenv("PATH", "")
    assert code_state(tmp_path) == ("", "")


def test_code_state_of_a_copy_without_git(tmp_path: Path) -> None:
    (tmp_path / COMMIT).write_text('{"commit": "abc", "dirty": "no"}')
    assert code_state(tmp_path) == ("abc", "no")


def test_a_folder_named_like_a_formula_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    image = tmp_path / "stage1_test/=HYPERLINK(1)/images/x.png"
    image.parent.mkdir(parents=True)
    image.touch()
    with pytest.raises(UserError, match=r"stage1_test.*ImageId '=HYPERLINK\(1\)'.*rename"):
        make_submission.test_images(tmp_path, tmp_path / "no.store")
