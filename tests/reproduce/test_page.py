"""What a page says of a system."""

import pytest

from nuclei.reproduce import paper_page as page
from nuclei.reproduce.paper_page import System


@pytest.mark.parametrize(
    ("system", "says"),
    [
        (
            System("A", {}, 0.225, {"mAP": 0.25}, 133, share=0.2),
            "mAP 0.250 on 133 held-out images, 0.025 higher than their 0.225 on the 65 test images, after",
        ),
        (System("A", {"mAP": 0.3}, 0.2, {"mAP": 0.25}, 9), "0.050 lower than their 0.3 on their own split."),
        (
            System("A", {"mAP": 0.3}, None, {"mAP": 0.3}, 9, share=0.05),
            "5.0% of their schedule: too short to say",
        ),
        (System("A", {}, None, {"mAP": 0.3}, 9), "they give no figure."),
        (System("A", {}, None, {"mAP": 0.3}, 9, share=0.05), "they give no figure. Trained for 5.0%"),
        (
            System("A", {"F1": 0.5}, None, {"mAP": 0.3, "F1": 0.4}, 9),
            "F1 0.400 on 9 held-out images, 0.100 lower",
        ),
        (System("A", {"mAP": 0.3}, None, {"mAP": 0.3}, 9, share=1.0), "the same as their 0.3"),
    ],
)
def test_the_difference_in_words(system, says):
    assert says in page.differences("mAP", [system])[0]


def test_the_table_has_only_columns_with_figures():
    a = System("A", {"x": 0.5}, None, {"x": 0.25, "y": 0.001}, 9)
    assert page.table(["x", "y"], [a]) == [
        "| system | x, theirs | x, ours | y, ours | trained | time |",
        "|---|---|---|---|---|---|",
        "| A | 0.500 | 0.250 | 0.0010 | – | 0 s |",
    ]
    b = System("B", {}, 0.1, {"x": 0.25, "y": 1.0}, 9, share=0.125, seconds=61, submission="s/b.csv")
    assert (
        page.table(["y"], [a, b])[-1]
        == "| B | 0.100 | [CSV](../../s/b.csv) | 1.000 | 12.5% of theirs | 61 s |"
    )


def test_the_search_has_a_row_for_each_draw():
    lines = page.search({"A": {1e-3: 0.5, 1e-4: 0.4}, "B": {1e-3: 0.1, 1e-4: 0.2}}, "IoU")
    assert lines[-2:] == ["| 1.00e-04 | 0.400 | 0.200 |", "| 1.00e-03 | 0.500 | 0.100 |"]
