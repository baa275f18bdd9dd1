"""``./run.sh ensemble`` from run folders to its own, through the door itself."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nuclei.cli import main
from nuclei.data.folds import read_folds, write_folds
from nuclei.ensemble.ensemble_file import read_ensemble

SMALL = ("trials=6", "refine=1", "finalists=1", "images=8", "crop=24")


@pytest.fixture
def place(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> Path:
    """A place with runs to average."""
    return draw_runs(tmp_path)


def run(place: Path, *settings: str) -> int:
    data = ["data=demo", f"data.store={place}/x.store", f"data.folds={place}/folds.csv"]
    return main(
        ["ensemble", *data, f"paths.runs={place}/runs", f"paths.ensembles={place}/e", *SMALL, *settings]
    )


def test_all_runs_by_default(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "ensemble of linknet/default, unet/default; channels nucleus, border, distance"
    assert out[1] == "not in the ensemble, for it has fewer maps: otsu/default (nucleus)"
    assert [line.split()[:3] for line in out[3:5]] == [
        ["second", "stage", "nested"],
        ["second", "stage", "tuned"],
    ]
    assert [line.split()[:2] for line in out[5:8]] == [
        ["ensemble", "nested"],
        ["ensemble", "tuned"],
        ["ensemble", "default"],
    ]
    folder = place / "e" / "demo" / "default"
    assert out[-1].startswith(f"wrote {folder}/ensemble.yaml in ")
    assert out[-1].endswith("next: there are no test images, so for a model file train fold=all, then export")
    ensemble = read_ensemble(folder / "ensemble.yaml")
    assert ensemble.channels == ("nucleus", "border", "distance") and ensemble.n_folds == 2
    assert [str(m.run) for m in ensemble.members] == ["linknet/default", "unet/default"]
    assert sum(m.weight for m in ensemble.members) == pytest.approx(1)
    assert [s["_target_"].rsplit(".")[-1] for s in ensemble.steps] == ["MapWatershed", "RemoveSmall"]
    assert f"mAP {ensemble.nested:.4f} (nested), {ensemble.tuned_on_all:.4f} (tuned" in out[-1]
    assert ensemble.nested > 0.9
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    scored = {(row["scored"], row["setting"]) for row in rows}
    assert {
        ("unet/default", "nested"),
        ("otsu/default", "components"),
        ("otsu/default", "distance"),
    } <= scored
    assert len(rows) == 3 * len(scored) == 3 * 13
    first = [row for row in rows if (row["scored"], row["setting"]) == ("ensemble", "nested")]
    assert [(row["modality"], row["images"]) for row in first] == [
        ("all", "8"),
        ("fluorescence", "4"),
        ("histology", "4"),
    ]
    assert float(first[0]["map"]) == ensemble.nested


def test_a_single_run_needs_no_weights(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "runs=otsu/default", "postprocess=distance", "name=floor") == 0
    out = capsys.readouterr().out
    assert "weights: otsu/default 1.000" in out and "peak_distance=" in out
    assert "border_weight" not in (place / "e" / "demo" / "floor" / "ensemble.yaml").read_text()


def test_the_same_seed_writes_the_same_files(place: Path) -> None:
    assert run(place, "name=one") == run(place, "name=two", "workers=1") == 0
    for name in ("ensemble.yaml", "scores.csv"):
        assert (place / "e/demo/one" / name).read_bytes() == (place / "e/demo/two" / name).read_bytes()


def test_what_is_missing_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "runs=[unet/default,segnet/default]") == 2
    assert "no run at" in (err := capsys.readouterr().err) and "model=segnet name=default fold=0,1" in err
    shutil.rmtree(place / "runs/demo/unet/default/fold1")
    assert run(place, "runs=[unet/default]") == 2
    assert "fold 1; run ./run.sh data=demo model=unet name=default fold=1" in capsys.readouterr().err
    assert not (place / "e").exists()


def test_a_folds_file_of_other_images_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folds(place / "folds.csv", read_folds(place / "folds.csv")[:-1])
    assert run(place) == 2
    assert "differ by 1 training images, image7 among them" in capsys.readouterr().err
