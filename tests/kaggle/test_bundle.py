"""The bundle: what is in it, the same bytes each time, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from nuclei.cli import main
from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.kaggle.bundle import keep_members, network_files, wheel_files
from nuclei.paths import Paths, RunName

REPO = Path(__file__).parents[2]
BUNDLE = ["bundle", "data=demo"]


def test_the_same_inputs_give_the_same_bytes(place: Path, offline_pip: Path) -> None:
    assert main([*BUNDLE]) == 0
    path = place / "kernels/dataset/nuclei.zip"
    first = path.read_bytes()
    for file in place.rglob("*"):
        os.utime(file, (1, 1))
    (place / "ensembles/demo/default/ensemble.yaml").chmod(0o600)
    path.unlink()
    assert main([*BUNDLE]) == 0
    assert path.read_bytes() == first


def test_what_is_in_it(place: Path, offline_pip: Path) -> None:
    assert main([*BUNDLE, "tta=3", "runs=otsu/default", f"paths.kernels={place}/other"]) == 0
    with zipfile.ZipFile(place / "other/dataset/nuclei.zip") as z:
        names = z.namelist()
        settings = json.loads(z.read("bundle.json"))
        ensemble = yaml.safe_load(z.read("ensembles/demo/default/ensemble.yaml"))
        commit = json.loads(z.read("project/commit.json"))
    assert names == sorted(names) and len(names) == len(set(names))
    assert settings["tta"] == 3 and settings["data"] == "demo" and settings["time_limit"] == 28800.0
    assert [member["run"] for member in ensemble["members"]] == ["otsu/default"]
    assert ensemble["members"][0]["weight"] == 1.0 and set(commit) == {"commit", "dirty"}
    source = {path.relative_to(REPO).as_posix() for path in (REPO / "src/nuclei").rglob("*.py")}
    assert source == {name.removeprefix("project/") for name in names if name.endswith(".py")}
    runs = [f"runs/demo/otsu/default/fold{k}/{name}.json" for k in (0, 1) for name in ("config", "done")]
    assert [name for name in names if name.startswith("runs/")] == runs
    assert {"project/configs/submission.yaml", "folds/demo.csv"} <= set(names)
    assert [name for name in names if name.endswith(".pyc") or "__pycache__" in name] == []


def test_the_wheels_are_named_as_in_the_requirements() -> None:
    pattern = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
    pinned = dict(pattern.findall((REPO / "requirements.txt").read_text()))
    ours = dict(pattern.findall((REPO / "kernels/dataset/wheels.txt").read_text()))
    assert ours and {name: pinned.get(name, version) for name, version in ours.items()} == ours


def test_a_wheel_that_cannot_be_had_is_named(tmp_path: Path, offline_pip: Path) -> None:
    pins = tmp_path / "wheels.txt"
    pins.write_text("# a comment\nno-such-package==1.0\n")
    with pytest.raises(UserError, match=r"pip cannot fetch no-such-package==1\.0: ERROR"):
        list(wheel_files(pins, tmp_path / "cache"))


def test_wheels_that_are_there_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "wheels.txt").write_text("Some.Package==1.0\n")
    (tmp_path / "some_package-1.0-py3-none-any.whl").touch()
    ((name, _),) = wheel_files(tmp_path / "wheels.txt", tmp_path)
    assert name == "wheels/some_package-1.0-py3-none-any.whl"


def test_a_run_that_is_no_member_or_not_finished(place: Path, tmp_path: Path) -> None:
    members = (WeightedRun(RunName("linknet", "default"), 1.0), WeightedRun(RunName("b", "c"), 0.0))
    ensemble = EnsembleFile("demo", "0", 2, ("nucleus",), members, (), 0.25, 0.5)
    with pytest.raises(UserError, match="no member b/c with a weight; its members are linknet/default"):
        keep_members(ensemble, ["b/c"])
    shutil.copytree(place / "runs", tmp_path / "runs")
    (tmp_path / "runs/demo/linknet/default/fold1/done.json").unlink()
    folders = dict.fromkeys(("root", "store", "folds", "ensembles", "submissions", "kernels", "reports"))
    paths = Paths("demo", runs=tmp_path / "runs", **{name: tmp_path / name for name in folders})
    with pytest.raises(UserError, match=r"fold1 is not finished; run .*model=linknet name=default fold=1"):
        list(network_files(keep_members(ensemble, None), paths, "default"))


def test_the_weights_of_kept_members_sum_to_1() -> None:
    members = (WeightedRun(RunName("a", "x"), 0.75), WeightedRun(RunName("b", "x"), 0.25))
    ensemble = EnsembleFile("demo", "0", 2, ("nucleus",), members, (), 0.25, 0.5)
    assert keep_members(ensemble, None) == ensemble
    assert keep_members(ensemble, ["b/x"]).members == (WeightedRun(RunName("b", "x"), 1.0),)
