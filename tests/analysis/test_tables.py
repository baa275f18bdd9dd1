"""The cells of the report's tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nuclei.analysis import tables
from nuclei.analysis.image_analysis import Findings, Subject
from nuclei.data.folds import FoldRow
from nuclei.ensemble.oof import Member

GROUPS = [0, 0, 1, 2]


def subject() -> Subject:
    """An ensemble of two runs."""
    members = [Member(name, ("nucleus",), {"image1": Path("x")}, {}) for name in ("a/a", "b/b")]
    return Subject("ensemble both", tuple(members), (0.75, 0.25), ("nucleus",), ())


def test_the_gain_of_mending_is_the_difference_of_the_scores(findings: list[Findings]) -> None:
    table = tables.error_costs(findings, GROUPS)
    merge = next(row for row in table.rows if row[0] == "merge")
    assert merge[2:5] == [10, 4, pytest.approx(0.45)]
    assert table.intervals["merge"] == pytest.approx((0.2, 0.2, 0.2))
    assert table.intervals["split"].mean == 0


def test_groups_are_in_the_order_of_their_numbers(findings: list[Findings]) -> None:
    names = ["10 to 15 px", "under 10 px", "10 to 15 px", "30 px and more"]
    precision = np.stack([f.precision for f in findings])
    table = tables.group_scores("Nucleus size", names, precision, GROUPS)
    assert [row[0] for row in table.rows] == ["under 10 px", "10 to 15 px", "30 px and more"]
    assert [row[1] for row in table.rows] == [1, 2, 1]
    assert table.intervals["10 to 15 px"].mean == pytest.approx(0.2)
    assert np.isnan(table.intervals["under 10 px"].low)


def test_differences_are_paired(findings: list[Findings]) -> None:
    scores, others = (np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 0.1, 0.2, 0.3]))
    table = tables.differences({"Modality": ["x", "x", "y", "y"]}, scores, others, GROUPS)
    assert [row[:3] for row in table.rows] == [
        ["All", "all images", 4],
        ["Modality", "x", 2],
        ["Modality", "y", 2],
    ]
    assert all(row[5].mean == pytest.approx(0.1) for row in table.rows)


def test_a_member_alone_and_what_the_ensemble_gains(findings: list[Findings]) -> None:
    same, half = tables.members(subject(), findings, GROUPS).rows
    assert same[:2] == ["a/a", 0.75] and same[3].mean == 0 and same[4] == pytest.approx(1)
    assert half[2].mean == pytest.approx(0.125) and half[3].mean == pytest.approx(0.125)


def test_recorded_scores_are_those_of_all_images() -> None:
    columns = ["scored", "setting", "modality", "images", "ap50", "ap75", "ap90", "map"]
    rows = [
        ["ensemble", "nested", "all", 4, 0.9, 0.8, 0.3, 0.6],
        ["ensemble", "nested", "grey", 2, 0, 0, 0, 0],
    ]
    table = tables.recorded(pd.DataFrame(rows, columns=columns))
    assert table.rows == [["ensemble", "nested", 0.9, 0.8, 0.3, 0.6]]


def test_the_table_of_images_has_a_difference_where_there_is_another_subject(
    findings: list[Findings],
) -> None:
    rows = [FoldRow(f.image_id, 0, 0, "grey", 32, 36, 3) for f in findings]
    table = tables.images(rows, findings)
    first = dict(zip(table.head, table.rows[0], strict=True))
    assert first["Size"] == "32×36" and first["Merge"] == 1 and first["Predicted"] == 19
    assert first["Difference"] == pytest.approx(0.05)
    alone = tables.images(rows, [replace(f, other_precision=np.empty(0)) for f in findings])
    assert "Difference" not in alone.head and len(alone.head) == len(alone.rows[0])


def test_a_suspect_without_a_mask_file_has_a_dash(findings: list[Findings]) -> None:
    (a,), (b,) = findings[0].suspects, findings[1].suspects
    rows = tables.suspects([a, b], {a: "mask.png"}).rows
    assert [row[1] for row in rows] == ["mask.png", "–"]


def test_the_tiles_count_images_groups_and_nuclei(findings: list[Findings]) -> None:
    texts = {tile.name: (tile.value, tile.note) for tile in tables.tiles(findings, GROUPS)}
    assert texts["mAP"][0] == "0.250" and texts["AP 0.75"] == ("0.250", "")
    assert texts["Images"] == ("4", "in 3 groups") and texts["Nuclei"] == ("80", "70 predicted")
