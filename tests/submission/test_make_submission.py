"""The record of how a submission was made, and of the code that made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.paths import RunName
from nuclei.submission import make_submission
from nuclei.submission.make_submission import (
    SubmissionRecord,
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


def test_a_folder_named_like_a_formula_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    image = tmp_path / "stage1_test/=HYPERLINK(1)/images/x.png"
    image.parent.mkdir(parents=True)
    image.touch()
    with pytest.raises(UserError, match=r"stage1_test.*ImageId '=HYPERLINK\(1\)'.*rename"):
        make_submission.test_images(tmp_path, tmp_path / "no.store")
