"""The texts of a report; tests/commands/test_analyse.py reads whole ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from nuclei.analysis.image_analysis import Findings, Subject
from nuclei.analysis.report import Sources, masks_note, members_text, precision_curves
from nuclei.data.folds import FoldRow
from nuclei.data.sources.dsb2018 import Dsb2018Item
from nuclei.data.store import Store
from nuclei.ensemble.oof import Member


@pytest.fixture
def sources() -> Sources:
    """An ensemble of two runs beside one of them, on four images of two modalities."""
    members = tuple(Member(name, ("nucleus",), {}, {}) for name in ("a/a", "b/b"))
    ensemble = Subject("ensemble both", members, (0.75, 0.25), ("nucleus",), ())
    alone = Subject("a/a", members[:1], (1.0,), ("nucleus",), ())
    modalities = ("bright", "bright", "bright", "dark")
    rows = [FoldRow(f"image{n}", 0, n, m, 32, 36, 3) for n, m in enumerate(modalities)]
    return Sources("demo", Mock(spec=Store), rows, ensemble, alone, 0.5, None, Path("files"), None)


def test_members_stand_with_their_weights(sources: Sources) -> None:
    assert members_text(sources.subject) == "0.75 × a/a + 0.25 × b/b"


def test_why_mask_files_have_no_names(sources: Sources) -> None:
    assert "not at files" in masks_note(sources)
    assert masks_note(replace(sources, items=["a tile"])) == "demo has no file for each nucleus."
    assert masks_note(replace(sources, items=[Dsb2018Item("x", "train", "x.png")])) == ""


def test_there_is_a_curve_for_each_subject_member_and_modality(
    sources: Sources, findings: list[Findings]
) -> None:
    curves = precision_curves(sources, findings)
    assert list(curves) == ["ensemble both", "a/a", "a/a alone", "b/b alone", "bright", "dark"]
    assert curves["b/b alone"][:, 0] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert curves["dark"].shape == (1, 10) and np.all(curves["dark"] == 0.4)
