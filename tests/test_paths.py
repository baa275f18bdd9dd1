"""Paths are functions of names, and a run's name has one form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nuclei import paths
from nuclei.errors import UserError
from nuclei.paths import FoldFolder, Paths, RunName

FOLDERS = map(Path, ("runs", "ensembles", "submissions", "kernels", "reports"))
DEMO = Paths(*FOLDERS, "demo", Path("data/demo"), Path("demo.store"), Path("demo.csv"))
RUN = RunName("unet", "first")


@pytest.mark.parametrize("text", ["unet", "unet/", "/first", "a/b/c", ""])
def test_a_name_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=rf"init={text}: expected MODEL/NAME, for example init=unet/default"):
        RunName.parse(text, "init")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b"])
def test_a_name_that_names_no_folder_of_its_own_is_refused(name: str) -> None:
    for make in (lambda: RunName("unet", name), lambda: RunName(name, "x"), lambda: DEMO.submission(name)):
        with pytest.raises(UserError, match="expected a name without / that begins with no dot"):
            make()


def test_a_name_is_shown_as_it_is_typed() -> None:
    assert str(RunName.parse("unet/first")) == "unet/first" and RunName.parse("unet/first") == RUN


def test_every_stage_has_its_place() -> None:
    assert DEMO.fold(RUN, 3) == FoldFolder(Path("runs/demo/unet/first/fold3"))
    assert DEMO.fold(RUN, "all").weights == Path("runs/demo/unet/first/foldall/model.safetensors")
    assert DEMO.ensemble("mine") == Path("ensembles/demo/mine/ensemble.yaml")
    assert DEMO.scores("mine") == Path("ensembles/demo/mine/scores.csv")
    assert DEMO.submission("mine") == Path("submissions/mine.csv")
    assert DEMO.ledger == Path("submissions/ledger.csv") and DEMO.bundle == Path("kernels/dataset/nuclei.zip")
    assert DEMO.report("unet/first") == Path("reports/demo/unet_first.html")


def test_the_files_of_two_folds_are_all_different() -> None:
    names = [name for name, value in vars(FoldFolder).items() if isinstance(value, property)]
    files = [getattr(DEMO.fold(RUN, fold), name) for fold in (0, 1) for name in names]
    assert len(names) == 8 and len(set(files)) == 16


def test_folders_move_together() -> None:
    moved = replace(DEMO, runs=Path("/elsewhere"))
    assert moved.fold(RUN, 0).maps == Path("/elsewhere/demo/unet/first/fold0/oof.npz")


def test_the_package_goes_before_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.shipped("configs").is_dir() and paths.default_model().is_file()
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    assert paths.shipped("configs") == tmp_path / "configs"
    assert paths.shipped("weights") == paths.ROOT / "weights"
