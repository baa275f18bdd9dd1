"""``./run.sh train``: what is refused before anything is drawn or trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from nuclei.cli import main


def test_a_fold_that_will_not_be_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data=demo", "fold=9"]) == 2
    assert "fold=9: expected 0 to 4, the folds of" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
