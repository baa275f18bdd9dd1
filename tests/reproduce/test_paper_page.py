"""The page of a paper, and its figures."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from nuclei.paths import RunName
from nuclei.reproduce import paper_page
from nuclei.reproduce.paper_page import Row, class_table, difference, search_table, systems_table
from nuclei.reproduce.systems import Draw


@pytest.mark.parametrize("classes", [[], ["background", "small", "round"]])
@pytest.mark.parametrize("channels", [1, 3])
def test_examples_show_image_truth_and_prediction(tmp_path, classes, channels):
    image = np.random.default_rng(0).integers(0, 99, (40, 60, 3)[: 2 + channels // 3], dtype=np.uint8)
    truth = np.zeros((40, 60), np.int32)
    truth[5:15, 5:15], truth[20:30, 30:50] = 1, 2
    paper_page.draw_examples(tmp_path / "x.jpg", [(image, truth, np.zeros_like(truth))] * 2, classes)
    sheet = cv2.imread(str(tmp_path / "x.jpg")).astype(int)
    rest = sheet.shape[0] - 2 * (40 * paper_page.WIDTH // 60 + paper_page.TITLE_HEIGHT + 6)
    assert sheet.shape[1] == 3 * (paper_page.WIDTH + 6) and (rest > 0) == bool(classes)
    saturation = sheet.max(2) - sheet.min(2)
    if (
        channels == 1
    ):  # colour stands where nuclei are drawn: in the truth, not in the image or the empty prediction
        image, truth, predicted = (
            saturation[: paper_page.WIDTH // 2, n * 326 : n * 326 + 320] for n in range(3)
        )
        assert truth.max() > 60 and max(image.max(), predicted.max()) < 40


def test_losses_that_vary_much_are_drawn_on_a_logarithmic_axis(tmp_path):
    for name, first in (("tame", 2), ("wild", 2e6)):
        (tmp_path / f"{name}.csv").write_text(f"epoch,loss,val_loss\n0,1,{first}\n1,0.5,0.6\n")
    paper_page.draw_curves(tmp_path / "x.png", {name: tmp_path / f"{name}.csv" for name in ("tame", "wild")})
    assert cv2.imread(str(tmp_path / "x.png")).shape[2] == 3


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            Row("A", {}, 0.225, {"mAP": 0.25}, 133, share=0.2),
            "mAP 0.250 on 133 held-out images, 0.025 higher than their 0.225 on the 65 test images, after",
        ),
        (Row("A", {"mAP": 0.3}, 0.2, {"mAP": 0.25}, 9), "0.050 lower than their 0.3 on their own split."),
        (
            Row("A", {"mAP": 0.3}, None, {"mAP": 0.3}, 9, share=0.05),
            "5.0% of their schedule: too short to say",
        ),
        (Row("A", {}, None, {"mAP": 0.3}, 9), "they give no figure."),
        (Row("A", {}, None, {"mAP": 0.3}, 9, share=0.05), "they give no figure. Trained for 5.0%"),
        (
            Row("A", {"F1": 0.5}, None, {"mAP": 0.3, "F1": 0.4}, 9),
            "F1 0.400 on 9 held-out images, 0.100 lower",
        ),
        (Row("A", {"mAP": 0.3}, None, {"mAP": 0.3}, 9, share=1.0), "the same as their 0.3"),
    ],
)
def test_the_difference_in_words(row, words):
    assert words in difference("mAP", row)


def cells(table):
    """The texts of a Markdown table, line by line, without the line below the head."""
    lines = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def test_the_table_has_only_columns_with_figures():
    a = Row("A", {"x": 0.5}, None, {"x": 0.25, "y": 0.001}, 9)
    assert cells(systems_table(["x", "y"], [a], "x", 0)) == [
        ["system", "x, theirs", "x, ours", "y, ours", "trained", "time"],
        ["A", "0.500", "0.250", "0.0010", "–", "0 s"],
    ]
    b = Row("B", {}, 0.1, {"x": 0.25, "y": 1.0}, 9, share=0.25, seconds=61, submission="s/b.csv")
    last = cells(systems_table(["y"], [a, b], "y", 0))[-1]
    assert last == ["B", "0.100", "[CSV](../../s/b.csv)", "1.000", "25.0% of theirs", "61 s"]


def test_the_search_has_a_row_for_each_draw():
    def draws(*scores):
        return [
            Draw(rate, RunName("m", "n"), score) for rate, score in zip((1e-3, 1e-4), scores, strict=True)
        ]

    table = search_table({"A": draws(0.5, 0.4), "B": draws(0.1, 0.2)}, "IoU")
    assert cells(table) == [
        ["learning rate", "A, IoU", "B, IoU"],
        ["1.00e-04", "0.400", "0.200"],
        ["1.00e-03", "0.500", "0.100"],
    ]


def test_a_class_that_is_nowhere_has_a_dash():
    scores = {"round": {"recall": 0.5}, "long": {"recall": float("nan")}}
    heading, table = class_table(Row("A", {}, None, {}, 9, class_scores=scores))
    assert heading == "A, pixels by class:"
    assert cells(table) == [["class", "recall"], ["round", "0.500"], ["long", "–"]]


def test_systems_that_say_nothing_are_marked_in_the_table():
    rows = [Row("A", {}, None, {"x": 0.5}, 9, share=0.1), Row("B", {}, None, {"x": 0.3}, 9, share=1.0)]
    rows += [Row("C", {}, None, {"x": 0.5}, 9, share=1.0), Row("Otsu", {}, None, {"x": 0.4}, 9)]
    titles = [line[0] for line in cells(systems_table(["x"], rows, "x", 0.4))[1:]]
    assert titles == ["A †", "B †", "C", "Otsu"]
