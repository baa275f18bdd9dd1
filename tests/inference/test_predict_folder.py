"""A list or a store gives what a folder gives; tables are CSV or Parquet; what cannot be read is named."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from nuclei.errors import UserError
from nuclei.inference.predict_folder import how_to_go_on, predict_folder
from nuclei.inference.segment_files import FileSettings
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.base import SegmentationNetwork
from nuclei.models.otsu import Otsu
from nuclei.postprocess.components import Components


def otsu() -> Segmenter:
    """Return a segmenter that needs no weights."""
    network = WeightedNetwork(Otsu().eval(), ["nucleus"])
    return Segmenter([network], ["nucleus"], [Components(0.5, 0.5)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three images."""
    for n in range(3):
        image = np.zeros((32, 40), np.uint8)
        image[4 : 8 + n, 4:12] = 200
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{n}.png"), image)
    return tmp_path / "images"


Predict = Callable[..., list[dict[str, str]]]


@pytest.fixture
def predict(tmp_path: Path) -> Predict:
    """Segment an input, and return the rows of images.csv."""

    def run(source: str, output: str = "out", again: bool = False) -> list[dict[str, str]]:
        settings, folder = FileSettings(save=("labels",)), tmp_path / output
        try:
            predict_folder(source, folder, otsu, settings, 2, again, "ImageId,EncodedPixels")
        finally:
            with open(folder / "images.csv", newline="") as f:
                rows = list(csv.DictReader(f))
        return rows

    return run


def test_a_store_gives_what_its_folder_gives(folder: Path, predict: Predict) -> None:
    stored, local = predict(f"file://{folder}", "stored"), predict(str(folder))
    for row in (*stored, *local):
        row.pop("seconds")
        row["path"] = row["path"].removeprefix("file://")
    assert stored == local and [row["image"] for row in local] == ["0", "1", "2"]


def test_a_list_with_a_missing_file_has_the_others(
    folder: Path,
    tmp_path: Path,
    predict: Predict,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list.csv").write_text(f"path\nimages/0.png\nimages/gone.png\nfile://{folder}/gone.png\n")
    with pytest.raises(UserError, match="2 files were skipped"):
        predict(str(tmp_path / "list.csv"))
    said = capsys.readouterr().err
    assert f"skipped: cannot read {folder}/gone.png: No such file" in said
    assert f"skipped: cannot read file://{folder}/gone.png: there is no such file" in said
    (tmp_path / "list.csv").write_text(f"path\nimages/0.png\nfile://{folder}/2.png\n")
    rows = predict(str(tmp_path / "list.csv"))
    assert [Path(row["path"]).name for row in rows] == ["0.png", "2.png"]


def test_the_results_of_another_input_are_replaced_only_when_asked(folder: Path, predict: Predict) -> None:
    assert len(predict(str(folder))) == 3
    with pytest.raises(UserError, match=f"holds the results of {folder}; name another output="):
        predict(str(folder / "0.png"))
    assert len(predict(str(folder))) == 3
    assert len(predict(str(folder / "0.png"), again=True)) == 1


def test_a_set_of_ome_files_is_one_image(
    tmp_path: Path,
    predict: Predict,
    write_ome_set: Callable[[Path, dict[str, np.ndarray]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "set").mkdir()
    planes = {name: np.full((30, 40), n, np.uint16) for n, name in enumerate(["actin", "DAPI", "tubulin"])}
    write_ome_set(tmp_path / "set", planes)
    assert [row["image"] for row in predict(str(tmp_path / "set"))] == ["a_C0.ome"]
    assert "a_C2.ome.tif is read with a_C0.ome.tif" in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"is of a set that begins with .*a_C0\.ome\.tif; add that file to the input"
    ):
        predict_folder(
            str(tmp_path / "set/a_C1.ome.tif"), tmp_path / "alone", otsu, FileSettings(), 1, False, ""
        )


class TwoClasses(SegmentationNetwork):
    """Nuclei are bright; those that are brighter still are of the second class."""

    def __init__(self) -> None:
        super().__init__(1, "plain")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of nucleus, dim and bright."""
        return torch.cat([x - 0.3, 0.7 - x, x - 0.7], 1) * 40


def test_classes_stand_in_the_tables(tmp_path: Path) -> None:
    image = np.zeros((32, 40), np.uint8)
    image[4:12, 4:12], image[16:28, 20:34] = 120, 220
    cv2.imwrite(str(tmp_path / "good.png"), image)
    channels = ["nucleus", "class_dim", "class_=HYPERLINK(1)"]
    segmenter = Segmenter([WeightedNetwork(TwoClasses().eval(), channels)], channels, [Components(0.5, 0.5)])
    settings = FileSettings(save=("geojson",))
    source, output = str(tmp_path / "good.png"), tmp_path / "out"
    predict_folder(source, output, lambda: segmenter, settings, 1, False, "ImageId,EncodedPixels")
    lines = (output / "nuclei.csv").read_text().splitlines()
    assert lines[0].endswith(",class")
    assert [line.split(",")[-1] for line in lines[1:]] == ['"dim"', '"\'=HYPERLINK(1)"'], "no formula"
    nuclei = json.loads((output / "geojson" / "good.geojson").read_text())["features"]
    assert [each["properties"]["classification"]["name"] for each in nuclei] == ["dim", "=HYPERLINK(1)"]


def test_intensities_of_any_unit_are_written(tmp_path: Path) -> None:
    image = np.full((32, 40), 1e-6, np.float32)
    image[4:12, 4:12] = 2.5e-5
    tifffile.imwrite(tmp_path / "a.tif", image)
    source, output = str(tmp_path / "a.tif"), tmp_path / "out"
    predict_folder(source, output, otsu, FileSettings(), 1, False, "ImageId,EncodedPixels")
    (row,) = csv.DictReader((output / "nuclei.csv").open())
    assert (
        float(row["mean_intensity"]) == pytest.approx(2.5e-5)
        and row["area"] == "64.000"
        and row["y"] == "7.500"
    )


def test_the_advice_to_a_call_that_was_stopped() -> None:
    assert how_to_go_on(again=False) == "the same call goes on"
    assert how_to_go_on(again=True) == "the same call without again=true goes on"


PARQUET_ALONE = FileSettings(("parquet",))


@pytest.fixture
def predict_hundred(tmp_path: Path) -> Callable[[], dict[str, float]]:
    """Segment a folder of 100 images, and return the time of each part."""
    for n in range(100):
        image = np.zeros((24, 24), np.uint8)
        image[4 : 8 + n % 8, 4:12] = 200
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{n}.png"), image)

    def run() -> dict[str, float]:
        try:
            predict_folder(str(tmp_path / "images"), tmp_path / "out", otsu, PARQUET_ALONE, 1, False, "")
        finally:
            parts = (tmp_path / "out").rglob("*.parquet")
            times = {path.name: path.stat().st_mtime for path in parts}
        return times

    return run


def test_label_maps_that_are_gone_are_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.eye(24, dtype=np.uint8) * 200)
    labels = tmp_path / "out/labels/a.tif"
    for _ in range(2):
        settings = FileSettings(("parquet", "labels"))
        predict_folder(str(tmp_path / "images"), tmp_path / "out", otsu, settings, 1, False, "")
        labels.unlink()


def test_a_file_of_a_set_alone_is_named(
    tmp_path: Path,
    write_ome_set: Callable[[Path, dict[str, np.ndarray]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pyarrow")
    write_ome_set(tmp_path, {"actin": np.zeros((30, 40), np.uint16), "DAPI": np.ones((30, 40), np.uint16)})
    with pytest.raises(UserError, match="is of a set that begins with"):
        predict_folder(str(tmp_path / "a_C1.ome.tif"), tmp_path / "out", otsu, PARQUET_ALONE, 1, False, "")
    predict_folder(str(tmp_path), tmp_path / "all", otsu, PARQUET_ALONE, 1, False, "")
    said = capsys.readouterr()
    assert "0 files skipped" in said.out and "a_C1.ome.tif is read with a_C0.ome.tif" in said.err


def test_a_second_call_makes_anew_what_changed_alone(
    predict_hundred: Callable[[], dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    first = predict_hundred()
    assert "100 nuclei in 100 images (100 fluorescence), 0 files skipped" in capsys.readouterr().out
    assert predict_hundred() == first and "100 files done before" in capsys.readouterr().out
    cv2.imwrite(str(tmp_path / "images/0.png"), np.zeros((24, 24), np.uint8))
    (tmp_path / "images/50.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="1 files were skipped"):
        predict_hundred()
    said = capsys.readouterr()
    assert "98 nuclei in 99 images" in said.out and "skipped: " in said.err and "50.png" in said.err
    assert "1 images have warnings" in said.err
    images = dataset.dataset(tmp_path / "out/parquet/images").to_table().column("image").to_pylist()
    assert sorted(images) == sorted(f"{n}" for n in range(100) if n != 50)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError) as e:
        predict_folder(str(tmp_path), tmp_path / "out", otsu, PARQUET_ALONE, 1, False, "")
    assert str(e.value) == f"Parquet needs the package pyarrow; {sys.executable} -m pip install pyarrow"


def test_a_folder_of_bad_files_alone_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png .*; no image could be read"):
        predict_folder(str(tmp_path), tmp_path / "out", otsu, PARQUET_ALONE, 1, False, "")
    with pytest.raises(UserError, match="expected a folder that this machine sees"):
        predict_folder(str(tmp_path), Path("s3://bucket/out"), otsu, PARQUET_ALONE, 1, False, "")
