"""The files of an ensemble are read as they were written, or refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from nuclei.ensemble.ensemble_file import (
    EnsembleFile,
    Score,
    WeightedRun,
    _sealed,
    read_ensemble,
    score_table,
    write_ensemble,
    write_scores,
)
from nuclei.errors import UserError
from nuclei.paths import RunName

STEP = {"_target_": "nuclei.postprocess.components.RemoveSmall", "min_area": 20}
MEMBERS = (WeightedRun(RunName("unet", "a"), 1.0), WeightedRun(RunName("otsu", "b"), 0.0))
ENSEMBLE = EnsembleFile("demo", "sha", 5, ("nucleus", "border"), MEMBERS, (STEP,), 0.5, 0.52)


def test_an_ensemble_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "ensemble.yaml"
    write_ensemble(path, ENSEMBLE)
    assert read_ensemble(path) == ENSEMBLE
    keys = ["data", "folds_sha256", "n_folds", "channels", "members", "steps", "score", "sha256"]
    assert list(yaml.safe_load(path.read_text())) == keys


def test_a_member_may_have_no_weight() -> None:
    assert ENSEMBLE.weighted == MEMBERS[:1]


def test_a_member_without_the_maps_is_refused() -> None:
    ENSEMBLE.check_channels("runs/x", ["border", "nucleus", "distance"])
    with pytest.raises(UserError, match=r"runs/x has other maps .*run ./run.sh ensemble again"):
        ENSEMBLE.check_channels("runs/x", ["nucleus"])


def test_an_ensemble_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "demo" / "mine" / "ensemble.yaml"
    with pytest.raises(UserError, match=r"no ensemble at .*; run ./run.sh ensemble data=demo name=mine"):
        read_ensemble(path)
    path.parent.mkdir(parents=True)
    for text in ("{", "a: 1", yaml.safe_dump([1])):
        for content in (text, _sealed(f"{text}\n")):
            path.write_text(content)
            with pytest.raises(UserError, match=r"is no ensemble file, .*; run ./run.sh ensemble data=demo"):
                read_ensemble(path)


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "demo" / "mine" / "ensemble.yaml"
    write_ensemble(path, ENSEMBLE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(
            UserError, match=r"ensemble.yaml is [^\n]*; run ./run.sh ensemble data=demo name=mine$"
        ):
            read_ensemble(path)


ROUGH, FINE = np.linspace(0.9, 0.0, 10), np.ones(10)
SCORES = [Score("unet/a", "nested", np.stack([ROUGH, ROUGH, FINE]))]
MODALITIES = ["grey", "grey", "colour"]


def test_scores_are_written_over_all_images_and_by_modality(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", SCORES, MODALITIES)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [(row["modality"], row["images"], row["map"]) for row in rows] == [
        ("all", "3", "0.6333"),
        ("colour", "1", "1.0000"),
        ("grey", "2", "0.4500"),
    ]
    assert (rows[2]["ap50"], rows[2]["ap75"], rows[2]["ap90"]) == ("0.9000", "0.4000", "0.1000")


def test_the_table_to_print_names_each_modality() -> None:
    head, row = score_table(SCORES, MODALITIES).splitlines()
    assert head.split() == ["scored", "setting", "0.50", "0.75", "0.90", "mAP", "colour", "grey"]
    assert row.split() == ["unet/a", "nested", "0.933", "0.600", "0.400", "0.633", "1.000", "0.450"]


def test_other_folds_are_refused() -> None:
    ENSEMBLE.check_folds(Path("folds.csv"), ENSEMBLE.folds_sha256)
    with pytest.raises(UserError, match=r"folds\.csv is of other folds .* run \./run\.sh ensemble data="):
        ENSEMBLE.check_folds(Path("folds.csv"), "other")
