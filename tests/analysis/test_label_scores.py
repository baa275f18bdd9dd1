"""Label maps in folders: which belong together, what is named, and the figures against those of arrays."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nuclei.analysis.label_scores import FIGURES, find_pairs, score_pairs, summary, write_scores
from nuclei.cli import main
from nuclei.data.sources.demo import draw_nuclei
from nuclei.errors import UserError
from nuclei.inference.segment_files import write_labels
from nuclei.metrics import agreement, average_precision


def drawn(seed: int) -> np.ndarray:
    return draw_nuclei(np.random.default_rng(seed), (60, 80), 12, 7.0, 0.4)


def save(path: Path, labels: np.ndarray) -> None:
    """Write a label map as people do: PNG of 16 bits, NumPy, or TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".png":
        cv2.imwrite(str(path), labels.astype(np.uint16))
    else:
        tifffile.imwrite(path, labels.astype(np.uint16), compression="zlib")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three predictions with two, one and no error, beside their truth in three formats."""
    for n, name in enumerate(["a/x.tif", "b/x.png", "y.npy"]):
        truth = drawn(n)
        labels = np.where(truth > 2 - n, truth, 0) * 7
        save(tmp_path / "labels" / name, labels)
        save((tmp_path / "truth" / name).with_suffix([".png", ".npy", ".tif"][n]), truth)
    return tmp_path / "labels", tmp_path / "truth"


def test_figures_of_folders_are_those_of_arrays(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = find_pairs(*folders)
    assert list(found.pairs) == ["a/x", "b/x", "y"] and not found.faults
    scores, faults = score_pairs(found, workers=2)
    assert not faults
    write_scores(tmp_path / "s.csv", scores)
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    for n, row in enumerate(rows):
        truth = drawn(n)
        labels = np.where(truth > 2 - n, truth, 0)
        assert (int(row["true"]), int(row["predicted"])) == (truth.max(), truth.max() - 2 + n)
        assert float(row["mAP"]) == pytest.approx(average_precision(truth, labels), abs=1e-6)
        assert float(row["AP_0.75"]) == pytest.approx((truth.max() - 2 + n) / truth.max(), abs=1e-6)
        for name, figure in FIGURES.items():
            assert float(row[name]) == pytest.approx(figure(agreement(truth, labels)), abs=1e-6)
    lines = summary(scores)
    assert lines[0].startswith("3 images,") and lines[0].endswith("0 merges, 0 splits")
    assert lines[2].startswith("mean of images") and lines[3].split()[-3] == "1.000"  # SQ of all nuclei


def test_stems_pair_files_in_other_folders_and_masks_beside_images(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "plate" / "x_cp_masks.png", drawn(0))
    save(tmp_path / "labels" / "y.tif", drawn(1))
    save(tmp_path / "truth" / "x_img.png", drawn(2))
    save(tmp_path / "truth" / "x_masks.png", drawn(0))
    save(tmp_path / "truth" / "deep" / "y.tif", drawn(1))
    pairs = find_pairs(tmp_path / "labels", tmp_path / "truth").pairs
    assert {key: files[1].name for key, files in pairs.items()} == {"plate/x": "x_masks.png", "y": "y.tif"}


def test_links_names_with_spaces_and_pictures_of_cellpose(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "x.tif", drawn(0))
    for folder in ("labels", "truth"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "linked").symlink_to(tmp_path / "elsewhere")
    save(tmp_path / "labels" / "day_1__a_.tif", drawn(1))
    save(tmp_path / "truth" / "day 1 (a)_masks.png", drawn(1))
    save(tmp_path / "truth" / "day 1 (a)_flows.png", drawn(2))
    (tmp_path / "truth" / "day 1 (a)_seg.npy").touch()
    found = find_pairs(tmp_path / "labels", tmp_path / "truth")
    assert list(found.pairs) == ["day_1__a_", "linked/x"] and not found.faults


def test_masks_of_one_value_are_taken_apart_and_said(tmp_path: Path) -> None:
    truth = np.zeros((20, 30), np.int32)
    truth[2:8, 2:8], truth[2:8, 12:18] = 1, 2
    save(tmp_path / "a.png", (truth > 0) * 255)
    save(tmp_path / "b.npy", truth.astype(">u2"))
    scores, faults = score_pairs(find_pairs(tmp_path / "b.npy", tmp_path / "a.png"), workers=1)
    assert not faults and scores[0].found.f1(19) == 1
    assert summary(scores)[0] == "masks of one value, whose connected pieces are taken for nuclei: 1"
    save(tmp_path / "a.png", truth + 1)
    scores, faults = score_pairs(find_pairs(tmp_path / "b.npy", tmp_path / "a.png"), workers=1)
    assert not scores and "a.png has no background" in faults[0]
    with pytest.raises(UserError, match="workers=0"):
        score_pairs(find_pairs(tmp_path / "b.npy", tmp_path / "a.png"), workers=0)


def test_two_files_and_the_output_of_predict(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", drawn(0))
    save(tmp_path / "b.png", drawn(0))
    assert list(find_pairs(tmp_path / "a.npy", tmp_path / "b.png").pairs) == ["a"]
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / "images.csv").touch()
    write_labels(tmp_path / "out" / "labels" / "a.tif", drawn(0), 0.5)
    save(tmp_path / "out" / "overlays" / "a.png", drawn(0))
    save(tmp_path / "truth" / "a.tif", drawn(0))
    ((prediction, _),) = find_pairs(tmp_path / "out", tmp_path / "truth").pairs.values()
    assert prediction == tmp_path / "out" / "labels" / "a.tif"


def test_what_cannot_be_paired_is_an_error(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "a.tif", drawn(0))
    with pytest.raises(UserError, match=r"truth=.*: expected a folder of label maps"):
        find_pairs(tmp_path / "labels", tmp_path / "truth")
    (tmp_path / "truth").mkdir()
    with pytest.raises(UserError, match="has no label map; expected"):
        find_pairs(tmp_path / "labels", tmp_path / "truth")
    save(tmp_path / "truth" / "b.tif", drawn(0))
    with pytest.raises(UserError, match="has the name of one below"):
        find_pairs(tmp_path / "labels", tmp_path / "truth")
    save(tmp_path / "truth" / "b.png", drawn(0))
    with pytest.raises(UserError, match="are two label maps of one image"):
        find_pairs(tmp_path / "labels", tmp_path / "truth")


def test_the_command_prints_writes_and_names_what_is_missing(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"labels={folders[0]}", f"truth={folders[1]}", f"output={tmp_path / 's.csv'}", "workers=1"]
    assert main(["score", *words]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("mAP 0.") and "demo" not in said.err
    save(folders[0] / "z.tif", drawn(5))
    save(folders[1] / "a" / "w.tif", drawn(5))
    save(folders[1] / "y.tif", drawn(2)[:-1])
    (folders[1] / "b" / "x.npy").unlink()
    cv2.imwrite(str(folders[1] / "b" / "x.png"), np.random.default_rng(0).integers(0, 255, (60, 80, 3)))
    assert main(["score", *words]) == 2
    said = capsys.readouterr()
    assert "1 images," in said.out and said.out.splitlines()[-1].startswith("mAP 0.")
    assert f"{folders[0] / 'z.tif'} has no partner below" in said.err
    assert f"{folders[1] / 'a' / 'w.tif'} has no partner below" in said.err
    assert "y.npy has 80x60 pixels" in said.err and "y.tif has 80x59" in said.err
    assert "x.png is a picture in colours, no label map" in said.err
    assert "error: 4 files were not scored, first" in said.err.splitlines()[-1]
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 2
    assert main(["score", f"labels={folders[0]}"]) == 2
    assert "labels= and truth= go together" in capsys.readouterr().err
    assert main(["score", f"lables={folders[0]}"]) == 2
    assert "did you mean 'labels'?" in capsys.readouterr().err
