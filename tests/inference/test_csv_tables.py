"""The CSV tables of a folder hold whole images, however a call ended."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.inference import csv_tables
from nuclei.inference.csv_tables import CsvTables
from nuclei.inference.measure import Columns
from nuclei.inference.segment_files import FileSettings, segment_files
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.otsu import Otsu
from nuclei.postprocess.components import Components


def test_a_call_that_is_stopped_while_rows_are_made_keeps_those_of_whole_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / f"{name}.png" for name in "012"}
    for n, path in enumerate(files.values()):
        image = np.zeros((32, 40), np.uint8)
        image[4 : 8 + n, 4:12] = 200
        cv2.imwrite(str(path), image)
    network = WeightedNetwork(Otsu().eval(), ["nucleus"])
    segmenter = Segmenter([network], ["nucleus"], [Components(0.5, 0.5)])
    output, settings, made = tmp_path / "out", {"save": ()}, []

    def stopped(table: Columns) -> list[dict[str, str]]:
        made.append(table)
        if len(made) == 2:
            raise KeyboardInterrupt
        return []

    output.mkdir()
    tables = CsvTables(output, files, settings, False, "ImageId,EncodedPixels")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(csv_tables, "_texts", stopped)
        tables.fill(segment_files(files, segmenter, output, FileSettings(save=()), 1))
    assert tables.stop() == "1 images"
    assert [*CsvTables(output, files, settings, False, "ImageId,EncodedPixels").waiting] == ["1", "2"]


def test_tables_without_images_have_their_headers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    files = {"a": tmp_path / "a.png"}
    tables = CsvTables(tmp_path, files, {"save": ()}, False, "ImageId,EncodedPixels")
    tables.finish()
    assert not tables.n_before and [*tables.waiting] == ["a"]
    assert (tmp_path / "submission.csv").read_text() == "ImageId,EncodedPixels\n"
