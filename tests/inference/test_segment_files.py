"""Files are segmented several at a time, in order, and a bad one costs itself alone."""

import threading
from pathlib import Path

import cv2
import numpy as np

from nuclei.errors import UserError
from nuclei.inference.segment_files import FileSettings, map_in_order, segment_files
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.models.otsu import Otsu
from nuclei.postprocess.components import Components


def test_each_file_has_its_labels_and_a_bad_one_its_error(tmp_path: Path) -> None:
    image = np.zeros((32, 40), np.uint8)
    image[4:12, 4:12] = image[16:28, 20:34] = 200
    cv2.imwrite(str(tmp_path / "good.png"), image)
    (tmp_path / "bad.png").write_bytes(b"no image")
    segmenter = Segmenter([WeightedNetwork(Otsu().eval(), ["nucleus"])], ["nucleus"], [Components(0.5, 0.5)])
    files = {"bad": tmp_path / "bad.png", "good": tmp_path / "good.png"}
    bad, good = segment_files(files, segmenter, tmp_path / "out", FileSettings(), workers=2)
    assert isinstance(bad, UserError) and "bad.png" in str(bad)
    assert isinstance(good, list) and good[0].name == "good" and good[0].count == 2
    assert good[0].table["area"].tolist() == [64, 168]
    written = cv2.imread(str(tmp_path / "out/labels/good.tif"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16 and np.bincount(written.ravel())[1:].tolist() == [64, 168]
    assert (tmp_path / "out/overlays/good.png").is_file()


def test_results_come_in_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def work(n: int) -> int:
        if n == 0:
            assert second_is_done.wait(10)
        if n == 1:
            second_is_done.set()
        return n * n

    assert list(map_in_order(work, range(5), workers=2)) == [0, 1, 4, 9, 16]
