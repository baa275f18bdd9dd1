"""Parts of the tables: which files go into one, and which are done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuclei.data.image_files import File
from nuclei.inference.parquet_parts import (
    IMAGES,
    MOST_BYTES,
    MOST_FILES,
    NUCLEI,
    ParquetTables,
    Part,
    Report,
    split,
    write_parts,
)
from nuclei.inference.segment_files import FileSettings
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.otsu import Otsu
from nuclei.postprocess.components import Components

ADDRESSES: dict[str, File] = {f"{n:04}": f"s3://bucket/{n:04}.png" for n in range(2000)}


def test_a_file_that_is_added_changes_one_part() -> None:
    parts = list(split(ADDRESSES, {}))
    more = list(split(dict(sorted({**ADDRESSES, "0500b": "s3://bucket/0500b.png"}.items())), {}))
    assert {name: file for part in parts for name, file in part.files.items()} == ADDRESSES
    assert 2000 / 96 < len(parts) < 2000 / 32 and max(len(part.files) for part in parts) <= MOST_FILES
    assert len({part.name for part in more} - {part.name for part in parts}) <= 2
    assert not {part.name for part in split(ADDRESSES, {"tta": 4})} & {part.name for part in parts}


def test_large_files_make_small_parts(tmp_path: Path) -> None:
    files: dict[str, File] = {}
    for n in range(6):
        files[f"{n}"] = tmp_path / f"{n}.tif"
        with open(tmp_path / f"{n}.tif", "wb") as f:
            f.truncate(MOST_BYTES // 2)
    assert max(len(part.files) for part in split(files, {})) == 2


def test_a_changed_file_makes_another_part(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    files: dict[str, File] = {"a": tmp_path / "a.png"}
    before = list(split(files, {}))
    (tmp_path / "a.png").write_bytes(b"22")
    [after] = split(files, {})
    assert [after.name] != [part.name for part in before]


def test_reports_add_up(tmp_path: Path) -> None:
    one, two = Report(2, 7, {"fluorescence": 2}, 1), Report(1, 0, {"histology": 1}, 0, ["b: bad"])
    total = Report(3, 7, {"fluorescence": 2, "histology": 1}, 1, ["c", "b: bad"])
    tables = ParquetTables(tmp_path, ADDRESSES, {}, (), again=True)
    tables.fill(zip(tables.waiting, [one, two], strict=False))
    assert tables.report(["c"]) == total


def test_what_a_part_holds(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import tifffile
    from pyarrow.parquet import read_table

    image = np.zeros((2, 32, 40), np.uint8)
    image[:, 4:12, 4:12] = image[:, 16:28, 20:34] = [[[200]], [[50]]]
    names = {"axes": "CYX", "Labels": ["DAPI", "GFP"], "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(2, 2), metadata=names)
    (tmp_path / "bad.png").write_bytes(b"no image")
    files: dict[str, File] = {"a": tmp_path / "a.tif", "bad": tmp_path / "bad.png"}
    segmenter = Segmenter([WeightedNetwork(Otsu().eval(), ["nucleus"])], ["nucleus"], [Components(0.5, 0.5)])

    def waiting(files: dict[str, File]) -> list[Part]:
        return ParquetTables(tmp_path / "out", files, {}, (), again=False).waiting

    [part] = split(files, {})
    [(_, report)] = write_parts([part], segmenter, tmp_path / "out", FileSettings(save=()), 2)
    assert (report.images, report.nuclei, len(report.skipped)) == (1, 2, 1) and "bad.png" in report.skipped[0]
    nuclei = read_table(tmp_path / "out" / NUCLEI).to_pylist()
    assert [(row["image"], row["label"], row["area"], row["area_um2"]) for row in nuclei] == [
        ("a", 1, 64, 16),
        ("a", 2, 168, 42),
    ]
    assert nuclei[0]["runs"].split()[:4] == ["133", "8", "165", "8"]
    assert dict(nuclei[0]["mean_intensities"]) == {"DAPI": 200, "GFP": 50}
    [row] = read_table(tmp_path / "out" / IMAGES).to_pylist()
    assert (row["image"], row["height"], row["nuclei"], row["pixel_size_um"]) == ("a", 32, 2, 0.5)
    assert waiting(files) == [part]  # its bad file may be a good one by now

    del files["bad"]
    [better] = split(files, {})
    list(write_parts([better], segmenter, tmp_path / "out", FileSettings(save=()), 2))
    assert waiting(files) == []
    assert len(list((tmp_path / "out/parquet").rglob("*.parquet"))) == 4
    ParquetTables(tmp_path / "out", files, {}, (), again=False).finish()
    assert len(list((tmp_path / "out/parquet").rglob("*.parquet"))) == 2
    next((tmp_path / "out" / NUCLEI).iterdir()).write_bytes(b"half")
    assert waiting(files) == [better]
