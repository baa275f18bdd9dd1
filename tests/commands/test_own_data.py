"""From one's own images to a finished run: what changes on the way is noticed, and each hint leads on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.cli import main
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.training import train_fold

DATA = ["data=folder", "data.root=mine"]
TRAIN = ["train", *DATA, "model=otsu", "postprocess=otsu", "tta=1"]


def write_images(shift: int = 0) -> None:
    """Write three images and their masks; a shift moves the masks and keeps the number of nuclei."""
    for folder in ("images", "masks"):
        Path("mine", folder).mkdir(parents=True, exist_ok=True)
    for seed in range(3):
        labels = draw_nuclei(np.random.default_rng(seed), (64, 80), 6, 5.0, 0.0)
        image = draw_fluorescence(np.random.default_rng(seed), labels)[..., 0]
        cv2.imwrite(f"mine/images/{seed}.png", image)
        cv2.imwrite(f"mine/masks/{seed}.png", np.roll(labels, shift, 1).astype(np.uint8))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_images()


def test_runs_are_not_finished_with_other_annotations(capsys: pytest.CaptureFixture[str]) -> None:
    for fold in range(3):
        assert main([*TRAIN, f"fold={fold}"]) == 0
    write_images(shift=2)
    assert main(["prepare", *DATA]) == 0 and main(["folds", *DATA, "force=true"]) == 0
    capsys.readouterr()
    for words in (
        [*TRAIN, "fold=0"],
        ["score", *DATA, "run=otsu/default"],
        ["ensemble", *DATA, "runs=[otsu/default]"],
        ["analyse", *DATA, "run=otsu/default"],
    ):
        assert main(words) == 2
        assert "with other images or annotations" in capsys.readouterr().err
    assert main([*TRAIN, "fold=0", "name=anew"]) == 0


def test_maps_of_a_stopped_prediction_are_not_taken_for_those_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "fold=0"]) == 0
    maps = Path("runs/folder/otsu/default/fold0/oof.npz")
    before = maps.read_bytes()
    write_maps = train_fold.write_maps

    def stopped(*arguments: object) -> None:
        write_maps(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_fold, "write_maps", stopped)
        assert main([*TRAIN, "fold=0", "tta=2", "scales=[1.5]"]) == 130
    capsys.readouterr()
    assert main([*TRAIN, "fold=0"]) == 0
    assert "wrote runs" in capsys.readouterr().out and maps.read_bytes() == before


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scales=[]", "scales=[]: expected factors above 0"),
        ("scales=[0.0]", "scales=[0.0]: expected factors above 0"),
        ("diameter=0", "diameter=0: expected the mean diameter"),
        ("tta=9", "tta=9: expected 1 to 8 views"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: expected 1 or more"),
        ("name=a/b", "name=a/b: expected a name without /"),
        ("name=", "name=: expected a name"),
        ("name=..", "name=..: expected a name"),
    ],
)
def test_what_cannot_be_predicted_or_found_again_is_refused_at_once(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [each for each in TRAIN if each.partition("=")[0] != word.partition("=")[0]]
    assert main([*words, "fold=0", word]) == 2
    assert message in capsys.readouterr().err
    assert not list(Path("runs").rglob("oof.npz"))


def test_a_call_that_failed_leaves_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN[:-1], "fold=0", "tta=9"]) == 2
    assert main([*TRAIN, "fold=0"]) == 0
    capsys.readouterr()
    assert main(["reproduce", *DATA, "run=otsu/default"]) == 0
    said = capsys.readouterr().out
    assert "tta=9" not in said and "setting" not in said and "tta=1" in said
    again = shlex.split(said.rpartition(": ")[2])
    assert main(again[1:]) == 0
    assert "out-of-fold mAP" in capsys.readouterr().out


def test_another_post_processing_does_not_pass_for_the_one_that_was_scored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*TRAIN, "fold=0"]) == 0
    assert main([*TRAIN, "fold=0", "postprocess=components"]) == 2
    assert "was begun with postprocess" in capsys.readouterr().err


def test_two_data_sets_side_by_side_follow_their_own_hints(capsys: pytest.CaptureFixture[str]) -> None:
    other = ["data.store=data/b.store", "data.folds=data/b.csv", "name=b"]
    for words in ([], other):
        for fold in range(3):
            assert main([*TRAIN, f"fold={fold}", *words]) == 0
        write_images(shift=1)
    hint = shlex.split(re.findall(r"next: (.*)", capsys.readouterr().out)[-1])
    assert hint[1:] == ["ensemble", *DATA, *other[:2]]
    assert main([*hint[1:], "trials=2", "refine=0", "finalists=1", "postprocess=components"]) == 0
    said = capsys.readouterr().out
    assert "for it is of other folds or images: otsu/default" in said and "ensemble of otsu/b;" in said
    assert "train fold=all, then export" in said
    assert main(["submission", *hint[2:]]) == 2
    assert "has no test images to predict" in capsys.readouterr().err
