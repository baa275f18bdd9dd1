"""The tables and sentences of a paper's page."""

import re

import pytest

from nuclei.paths import RunName
from nuclei.reproduce.paper_page import Row, class_table, difference, search_table, systems_table
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
    assert cells(systems_table(["x", "y"], [a])) == [
        ["system", "x, theirs", "x, ours", "y, ours", "trained", "time"],
        ["A", "0.500", "0.250", "0.0010", "–", "0 s"],
    ]
    b = Row("B", {}, 0.1, {"x": 0.25, "y": 1.0}, 9, share=0.125, seconds=61, submission="s/b.csv")
    last = cells(systems_table(["y"], [a, b]))[-1]
    assert last == ["B", "0.100", "[CSV](../../s/b.csv)", "1.000", "12.5% of theirs", "61 s"]


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
