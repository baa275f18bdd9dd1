"""``./run.sh score``: a submission against a solution, and a run's out-of-fold maps against the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuclei.atomic import write_json
from nuclei.cli import main
from nuclei.data.folds import FoldRow, folds_sha256, write_folds
from nuclei.data.store import Store, StoreRow, encode_image, encode_labels, write_store
from nuclei.submission import rle
from nuclei.submission.csv_files import write_submission

GRID = np.kron(np.arange(1, 5, dtype=np.int32).reshape(2, 2), np.ones((8, 8), np.int32))
GRID[7:9] = GRID[:, 7:9] = 0
TRUTH = {"a": GRID, "b": GRID * (GRID < 3), "c": GRID * 0, "d": GRID}
STEPS = {
    "steps": [{"_target_": "nuclei.postprocess.components.Components", "low": 0.5, "high": 0.5}],
}


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    path = tmp_path / "stage1_solution.csv"
    lines = ["ImageId,EncodedPixels,Height,Width,Usage"]
    for image_id, labels in TRUTH.items():
        lines += [f"{image_id},{t},16,16,Public" for t in map(rle.to_text, rle.encode(labels))] or [
            f"{image_id},,16,16,Public"
        ]
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = [
        (
            StoreRow(
                image_id,
                "train",
                16,
                16,
                channels=1,
                nuclei=int(labels.max()),
                modality="fluorescence" if image_id in "ab" else "histology",
                parent=image_id,
            ),
            encode_image(labels.astype(np.uint8)),
            encode_labels(labels),
        )
        for image_id, labels in TRUTH.items()
    ]
    write_store(tmp_path / "x.store", rows)
    return tmp_path / "x.store"


@pytest.fixture
def run_folder(tmp_path: Path, store: Path) -> Path:
    """A run of two folds whose maps miss one nucleus of image d."""
    facts = [(i, k % 2, "histology" if i in "cd" else "fluorescence") for k, i in enumerate(TRUTH)]
    write_folds(
        tmp_path / "folds.csv",
        [FoldRow(i, k, n, m, 16, 16, 4) for n, (i, k, m) in enumerate(facts)],
    )
    run = tmp_path / "runs" / "dsb2018" / "unet" / "default"
    seen = TRUTH | {"d": GRID * (GRID < 4)}
    config = {"model": {"channels": ["nucleus"], "network": {}}, "postprocess": STEPS, "folds_sha256": ""}
    config |= {"samples_per_epoch": 1, "trainer": {"max_epochs": 1}}
    for fold in (0, 1):
        (run / f"fold{fold}").mkdir(parents=True)
        write_json(run / f"fold{fold}" / "config.json", config)
        maps = {i: 255 * (seen[i] > 0).astype(np.uint8)[None] for i, k, _ in facts if k == fold}
        sha256 = folds_sha256(tmp_path / "folds.csv")
        np.savez_compressed(
            run / f"fold{fold}" / "oof.npz",
            channels=["nucleus"],
            folds_sha256=sha256,
            store_sha256=Store(store).sha256,
            **maps,
        )
    return run


def run(folder: Path, *settings: str) -> int:
    places = [f"data.root={folder}", f"data.store={folder}/x.store", f"data.folds={folder}/folds.csv"]
    return main(["score", *places, f"paths.runs={folder}/runs", *settings])


def test_a_perfect_submission(tmp_path: Path, solution: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_submission(tmp_path / "s.csv", TRUTH.items())
    assert run(tmp_path, f"submission={tmp_path}/s.csv") == 0
    assert capsys.readouterr().out.endswith("\nmAP 1.0000\n")


def test_a_submission_with_errors(
    tmp_path: Path, solution: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of four nuclei too few, an image with one too many, and a nucleus with IoU 49/65."""
    predicted = TRUTH | {"a": GRID * (GRID < 4), "c": (GRID == 1).astype(int), "b": GRID * (GRID == 1)}
    write_submission(tmp_path / "s.csv", predicted.items())
    assert run(tmp_path, f"submission={tmp_path}/s.csv") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "modality     images   0.50   0.75   0.90   mean"
    assert out[1] == "fluorescence      2  0.625  0.625  0.625  0.625"
    assert out[2] == "histology         2  0.500  0.500  0.500  0.500"
    assert out[-1] == "mAP 0.5625"


def test_truth_that_overlaps_a_little_is_scored(
    tmp_path: Path, solution: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solution.write_text(solution.read_text() + "d,1 1,16,16,Public\n")
    write_submission(tmp_path / "s.csv", TRUTH.items())
    assert run(tmp_path, f"submission={tmp_path}/s.csv") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "mAP 0.9500"  # d: 4 of 5, the fifth has one pixel


def test_a_submission_that_cannot_be_scored(
    tmp_path: Path, solution: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.csv"
    path.write_text("ImageId,EncodedPixels\na,1 2\n")
    assert run(tmp_path, f"submission={path}") == 2
    assert f"{path} lacks 3 of the 4 images in {solution}, first b" in capsys.readouterr().err
    path.write_text("ImageId,EncodedPixels\na,1 2 3\nb,\nc,\nd,\n")
    assert run(tmp_path, f"submission={path}") == 2
    err = capsys.readouterr().err
    assert "breaks the rules 1 times, first line 2, ImageId a: an odd count" in err
    assert f"./run.sh validate submission={path} solution={solution}" in err
    solution.unlink()
    assert run(tmp_path, f"submission={path}") == 2
    assert "score out-of-fold maps instead: ./run.sh score run=unet/default" in capsys.readouterr().err
    assert run(tmp_path) == 2
    assert "say either submission=submissions/NAME.csv or run=MODEL/NAME" in capsys.readouterr().err


def test_a_damaged_solution_is_named(
    tmp_path: Path, solution: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_submission(tmp_path / "s.csv", TRUTH.items())
    solution.write_text(solution.read_text() + "d,256 2,16,16,Public\n")
    assert run(tmp_path, f"submission={tmp_path}/s.csv") == 2
    assert f"{solution}, image d: row 5: run '256 2' leaves the image of 16x16" in capsys.readouterr().err


def test_a_run(tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "run=unet/default") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "fold 0      2  1.000  1.000  1.000  1.000"
    assert out[2] == "fold 1      2  0.875  0.875  0.875  0.875"
    assert out[6].startswith("fluorescence      2  1.000")
    assert out[7].startswith("histology         2  0.875")
    assert out[-1] == "mAP 0.9375"


def test_a_run_with_other_post_processing(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["run=unet/default", "postprocess=components", "postprocess.steps.1.min_area=50"]
    assert run(tmp_path, *settings) == 0  # a nucleus has 49 pixels: only the empty image is right
    assert capsys.readouterr().out.splitlines()[-1] == "mAP 0.2500"


def test_a_run_that_is_not_there(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "run=unet/other") == 2
    assert "runs/dsb2018/unet/other" in capsys.readouterr().err
    assert run(tmp_path, "run=unet") == 2
    assert "run=unet: expected MODEL/NAME" in capsys.readouterr().err
    (run_folder / "fold1" / "oof.npz").unlink()
    assert run(tmp_path, "run=unet/default") == 2
    assert "fold 1" in capsys.readouterr().err
