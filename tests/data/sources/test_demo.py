"""The drawn data set: Kaggle's layout, repeatable, and with an honest solution."""

import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from nuclei.data.sources.demo import (
    Demo,
    draw_brightfield,
    draw_demo,
    draw_fluorescence,
    draw_histology,
    draw_nuclei,
    shape_classes,
)
from nuclei.data.store import Store, prepare
from nuclei.submission import rle


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "demo"
    draw_demo(root, seed=3, n_train=8, n_test=3)
    return root


def files(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(root, tmp_path):
    draw_demo(tmp_path / "same", seed=3, n_train=8, n_test=3)
    assert files(root) == files(tmp_path / "same")
    draw_demo(tmp_path / "other", seed=4, n_train=1, n_test=1)
    assert not set(files(tmp_path / "other")) & {n for n in files(root) if n.endswith("png")}


def test_prepare_finds_disjoint_whole_nuclei_in_all_modalities(root, tmp_path):
    counts = prepare(Demo(root, 3, 8, 3), tmp_path / "demo.store", workers=1)
    assert (counts["train"], counts["test"]) == (8, 3)
    assert not counts["overlapping"] and not counts["in several pieces"] and not counts["empty"]
    store = Store(tmp_path / "demo.store")
    assert {row.modality for row in store.index} == {"fluorescence", "histology", "brightfield"}
    for image_id in store.ids("train"):
        areas = np.bincount(store.labels(image_id).ravel())[1:]
        assert len(areas) and areas.min() >= 20


def test_the_solution_is_the_truth_of_the_test_images(root):
    rows = defaultdict(list)
    with open(root / "stage1_solution.csv") as f:
        for row in csv.DictReader(f):
            rows[row["ImageId"], int(row["Height"]), int(row["Width"])].append(row["EncodedPixels"])
    assert len(rows) == 3
    for (image_id, height, width), runs in rows.items():
        image = cv2.imread(str(root / "stage1_test" / image_id / "images" / f"{image_id}.png"), 0).astype(
            float
        )
        inside = rle.decode(runs, (height, width)) > 0
        assert image.shape == inside.shape
        assert abs(image[inside].mean() - image[~inside].mean()) > 8


def test_a_demo_that_is_there_is_not_drawn_again(root):
    before = (root / "stage1_solution.csv").stat().st_mtime_ns
    Demo(root, 99, 1, 1).fetch()
    assert (root / "stage1_solution.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("draw", [draw_brightfield, draw_fluorescence, draw_histology])
def test_an_image_may_be_empty(draw):
    image = draw(np.random.default_rng(0), np.zeros((40, 50), np.int32))
    assert image.shape == (40, 50, 3) and image.dtype == np.uint8


def test_nuclei_touch_when_they_shall():
    def touching(labels):
        a, b = labels[:, :-1], labels[:, 1:]
        return ((a != b) & (a > 0) & (b > 0)).sum()

    rng = np.random.default_rng(0)
    assert touching(draw_nuclei(rng, (200, 200), 60, 9.0, touching=0.9)) > 30
    alone = draw_nuclei(rng, (400, 400), 10, 6.0, touching=0.0)
    assert alone.max() >= 8


def test_classes_are_small_round_and_long():
    square, bar = np.zeros((2, 40, 40), np.int32)
    square[4:14, 4:14], square[20:24, 20:24], square[26:36, 4:14] = 1, 2, 3
    bar[5:10, 2:30] = 1
    assert shape_classes(square) == [2, 1, 2]
    assert shape_classes(bar) == [3]
    assert shape_classes(np.zeros((3, 3), np.int32)) == []
