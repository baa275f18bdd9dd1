"""Tables as Parquet: a second call makes anew what changed alone, and says what it could not read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.errors import UserError
from nuclei.inference.predict_parquet import predict_parquet
from nuclei.inference.segment_files import FileSettings
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.otsu import Otsu
from nuclei.postprocess.components import Components


def otsu() -> Segmenter:
    """Return a segmenter that needs no weights."""
    network = WeightedNetwork(Otsu().eval(), ["nucleus"])
    return Segmenter([network], ["nucleus"], [Components(0.5, 0.5)])


@pytest.fixture
def predict(tmp_path: Path) -> Callable[[], dict[str, float]]:
    """Segment a folder of 100 images, and return the time of each part."""
    for n in range(100):
        image = np.zeros((24, 24), np.uint8)
        image[4 : 8 + n % 8, 4:12] = 200
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{n}.png"), image)

    def run() -> dict[str, float]:
        try:
            predict_parquet(
                str(tmp_path / "images"), tmp_path / "out", otsu, FileSettings(("parquet",)), 1, False
            )
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
        predict_parquet(str(tmp_path / "images"), tmp_path / "out", otsu, settings, 1, False)
        labels.unlink()


def test_a_file_of_a_set_alone_is_named(
    tmp_path: Path,
    write_ome_set: Callable[[Path, dict[str, np.ndarray]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pyarrow")
    write_ome_set(tmp_path, {"actin": np.zeros((30, 40), np.uint16), "DAPI": np.ones((30, 40), np.uint16)})
    settings = FileSettings(("parquet",))
    with pytest.raises(UserError, match="is of a set that begins with"):
        predict_parquet(str(tmp_path / "a_C1.ome.tif"), tmp_path / "out", otsu, settings, 1, False)
    predict_parquet(str(tmp_path), tmp_path / "all", otsu, settings, 1, False)
    said = capsys.readouterr()
    assert "0 files skipped" in said.out and "a_C1.ome.tif is read with a_C0.ome.tif" in said.err


def test_a_second_call_goes_on(
    predict: Callable[[], dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    first = predict()
    assert "100 nuclei in 100 images (100 fluorescence), 0 files skipped" in capsys.readouterr().out
    assert predict() == first and "100 files done before" in capsys.readouterr().out
    cv2.imwrite(str(tmp_path / "images/0.png"), np.zeros((24, 24), np.uint8))
    (tmp_path / "images/50.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="1 files were skipped"):
        predict()
    said = capsys.readouterr()
    assert "98 nuclei in 99 images" in said.out and "skipped: " in said.err and "50.png" in said.err
    assert "1 images have warnings" in said.err
    images = dataset.dataset(tmp_path / "out/parquet/images").to_table().column("image").to_pylist()
    assert sorted(images) == sorted(f"{n}" for n in range(100) if n != 50)


@pytest.mark.parametrize(
    ("package", "said"),
    [("pyarrow", f"Parquet needs the package pyarrow; {sys.executable} -m pip install pyarrow")],
)
def test_a_missing_package_is_named(
    package: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as e:
        predict_parquet(str(tmp_path), tmp_path / "out", otsu, FileSettings(), 1, False)
    assert str(e.value) == said


def test_a_folder_of_bad_files_alone_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png .*; no image could be read"):
        predict_parquet(str(tmp_path), tmp_path / "out", otsu, FileSettings(), 1, False)
    with pytest.raises(UserError, match="expected a folder that this machine sees"):
        predict_parquet(str(tmp_path), Path("s3://bucket/out"), otsu, FileSettings(), 1, False)
