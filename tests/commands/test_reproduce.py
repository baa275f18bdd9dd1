"""``./run.sh reproduce``: runs of which nothing can be said."""

from __future__ import annotations

from pathlib import Path

import pytest

from nuclei.cli import main


def test_a_run_that_was_never_begun_or_left_no_record_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "run=unet/none", "data=demo"]) == 2
    assert "run=unet/none: expected MODEL/NAME, a run whose fold 0 was begun" in capsys.readouterr().err
    folder = tmp_path / "runs/demo/unet/none/fold0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert main(["reproduce", "run=unet/none", "data=demo"]) == 2
    assert "environment.json is missing or damaged, so nobody can say" in capsys.readouterr().err
