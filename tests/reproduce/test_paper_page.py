"""The page of a paper, and its figures."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from nuclei.paths import RunName
from nuclei.reproduce.paper_page import Row, class_table, comparison, difference, search_table, systems_table
from nuclei.reproduce.systems import Draw


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
    assert titles == ["A †", "B ‡", "C", "Otsu"]


def test_figures_carry_the_interval_of_their_bootstrap_and_differences_that_of_pairs():
    samples = pd.DataFrame({"x": [0.25, 0.5, 0.75] * 100})
    a, b = (Row(t, {}, None, {"x": 0.5 - d}, 9, samples=samples - d) for t, d in (("A", 0), ("B", 0.125)))
    assert a.figure("x") == "0.500 (0.250–0.750)"
    assert comparison("x", a, b) == "- A, less B: x +0.125 (+0.125 to +0.125), higher."
    assert comparison("x", a, a).endswith("x +0.000 (+0.000 to +0.000), not told apart.")


def test_the_best_epoch_is_that_of_the_highest_iou_of_held_out_pixels(tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,val_iou\n0,0.1\n1,0.75\n2,0.5\n")
    assert Row("A", {}, None, {}, 9, log=log).best_epoch == "2 of 3 (0.750)"
    assert Row("A", {}, None, {}, 9).best_epoch == "–"
