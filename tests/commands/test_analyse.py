"""``./run.sh analyse`` through the door, on runs whose errors are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nuclei.cli import main
from nuclei.data.folds import folds_sha256
from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun, read_ensemble, write_ensemble
from nuclei.paths import RunName


@pytest.fixture
def place(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> Path:
    """Runs, and an ensemble of two of them."""
    draw_runs(tmp_path)
    config = json.loads((tmp_path / "runs/demo/unet/default/fold0/config.json").read_text())
    ensemble = EnsembleFile(
        data="demo",
        folds_sha256=folds_sha256(tmp_path / "folds.csv"),
        n_folds=2,
        channels=("nucleus", "border", "distance"),
        members=tuple(WeightedRun(RunName(m, "default"), w) for m, w in (("unet", 0.6), ("linknet", 0.4))),
        steps=tuple(config["postprocess"]["steps"]),
        nested=0.91,
        tuned_on_all=0.92,
    )
    write_ensemble(tmp_path / "e/demo/default/ensemble.yaml", ensemble)
    return tmp_path


def analyse(place: Path, *settings: str) -> int:
    """Run the command on what the fixture drew."""
    paths = [f"paths.{name}={place}/{folder}" for name, folder in (("runs", "runs"), ("ensembles", "e"))]
    data = [
        "data=demo",
        f"data.store={place}/x.store",
        f"data.folds={place}/folds.csv",
        f"data.root={place}/no",
    ]
    return main(["analyse", *data, *paths, f"paths.reports={place}/reports", "workers=1", *settings])


def test_merges_are_counted_and_their_cost_is_what_mending_brings(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse(place, "run=otsu/default", "compare=unet/default") == 0
    path = place / "reports/demo/otsu_default_vs_unet_default.html"
    out = capsys.readouterr().out
    assert out.startswith(f"wrote {path}") and "mAP 0.250" in out
    page = path.read_text()
    merge = page[page.index("<td>merge</td>") :].split("</tr>")[0]
    # Of three nuclei one is found, two are one: 1 / (1 + 1 + 2); cut along the truth, all is right.
    assert 'data-sort="8"' in merge and 'data-sort="1.0"' in merge and 'data-sort="0.75"' in merge
    difference = page[page.index("<td>all images</td>") :].split("</tr>")[0]
    ours, theirs, gap = (float(x) for x in re.findall(r'data-sort="([-.\d]+)"', difference)[1:])
    assert (
        "Compared with unet/default" in page and ours == 0.25 < theirs and gap == pytest.approx(ours - theirs)
    )
    assert "Without a log of a training: otsu/default" in page and 'id="figure-training"' in page
    assert f"not at {place}/no" in page and "https://" not in page.split('<script type="application/json"')[0]


def test_an_ensemble_shows_members_and_the_nested_score(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse(place) == 0
    assert "mAP, nested 0.910, mAP 1.000" in capsys.readouterr().out
    page = (place / "reports/demo/ensemble_default.html").read_text()
    assert page.index("<dt>mAP, nested</dt><dd>0.910</dd>") < page.index("<dt>mAP</dt><dd>1.000</dd>")
    assert "linknet/default" in page and "Ensemble&#39;s gain" in page and 'id="figure-correlations"' in page
    assert "The worst 4 images" in page and "The best 4 images" in page


def test_what_is_missing_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for setting, words in (
        ("run=otsu", "expected MODEL/NAME"),
        ("run=segnet/default", "no run at"),
        ("compare=better", "no ensemble at"),
    ):
        assert analyse(place, setting) == 2
        assert words in capsys.readouterr().err
    assert not (place / "reports").exists()


def test_a_run_without_training_has_no_training_curves(place: Path) -> None:
    assert analyse(place, "run=otsu/default") == 0
    page = (place / "reports/demo/otsu_default.html").read_text()
    assert "Without a log of a training: otsu/default" in page and 'id="figure-training"' not in page


def test_an_ensemble_of_other_folds_and_a_post_processing_that_it_does_not_take_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse(place, "postprocess=components") == 2
    assert "postprocess= is of runs" in capsys.readouterr().err
    path = place / "e/demo/default/ensemble.yaml"
    write_ensemble(path, replace(read_ensemble(path), folds_sha256="0" * 64))
    assert analyse(place) == 2
    assert "is of other folds than the ensemble was made with" in capsys.readouterr().err
