"""What a run was trained with, and how that differs from today."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from nuclei.errors import UserError
from nuclei.submission.make_submission import sha256_of
from nuclei.training import environment
from nuclei.training.environment import (
    COMMIT,
    code_state,
    current_environment,
    differences,
    read_environment,
    write_environment,
)


def test_an_environment_comes_back_and_nothing_differs(tmp_path: Path) -> None:
    (tmp_path / "x.store").write_bytes(b"images")
    now = current_environment("./run.sh train fold=0", ("fold=0",), tmp_path, sha256_of(tmp_path / "x.store"))
    assert now.packages["numpy"] and now.words == ("fold=0",)
    write_environment(tmp_path / "environment.json", now)
    assert read_environment(tmp_path / "environment.json") == now
    assert list(differences(now, now)) == []


def test_each_difference_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.store").write_bytes(b"images")
    before = current_environment("", (), tmp_path, sha256_of(tmp_path / "x.store"))
    (tmp_path / "x.store").write_bytes(b"other images")
    store_sha256 = current_environment("", (), tmp_path, sha256_of(tmp_path / "x.store")).store_sha256
    packages = {**before.packages, "numpy": "0.1", "more": "1"}
    now = dataclasses.replace(
        before, commit="abcdefgh", changed="yes", store_sha256=store_sha256, python="3.9", packages=packages
    )
    assert list(differences(before, now)) == [
        "code: commit unknown, today abcdefg",
        "code: with changes that are in no commit, today",
        f"data: the store had sha256 {before.store_sha256[:12]}, today {store_sha256[:12]}",
        f"Python: {before.python}, today 3.9",
        "package more: none, today 1",
        f"package numpy: {before.packages['numpy']}, today 0.1",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"words": 3}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(UserError, match=r"environment.json is missing or damaged"):
        read_environment(tmp_path / "environment.json")


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


def test_code_within_the_repository_of_another_project_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    (tmp_path / "lib").mkdir()
    assert code_state(tmp_path / "lib") == ("", "")


@pytest.mark.parametrize(
    ("setting", "has_small", "gpu", "expected"),
    [
        ("auto", True, False, "small: no GPU"),
        ("auto", True, True, "full"),
        ("auto", False, False, "full"),
        ("full", True, False, "full"),
        ("small", True, True, "small"),
        ("small: no GPU", True, True, "small: no GPU"),
    ],
)
def test_the_recipe_is_small_without_a_gpu(setting: str, has_small: bool, gpu: bool, expected: str) -> None:
    assert environment.choose_recipe(setting, has_small, gpu) == expected


def test_chosen_settings_stay() -> None:
    small = {"model": "unet", "batch_size": 8, "samples_per_epoch": 512, "max_epochs": 9}
    assert environment.small_settings(small, {"batch_size", "model"}) == {
        "samples_per_epoch": 512,
        "trainer.max_epochs": 9,
    }


def test_a_gpu_is_known_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(environment, "GPU_DEVICES", ("/nowhere",))
    assert not environment.has_gpu()
    monkeypatch.setattr(environment, "GPU_DEVICES", ("/nowhere", "/dev/null"))
    assert environment.has_gpu()


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="recipe=smal: expected full, small or auto"):
        environment.choose_recipe("smal", has_small=True, gpu=False)
