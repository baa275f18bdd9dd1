"""``./run.sh ledger``: the table, the correlation, the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from nuclei.cli import main
from nuclei.kaggle.ledger import LedgerRow, write_row


def sent(folder: Path, *scores: tuple[str, str, str]) -> None:
    for n, (nested, public, private) in enumerate(scores):
        row = LedgerRow(
            message=str(n), file=f"submissions/{n}.csv", oof_nested=nested, public=public, private=private
        )
        write_row(folder / "ledger.csv", row)


def test_scores_that_agree_and_scores_that_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent(tmp_path, ("0.5", "0.4", "0.6"), ("0.51", "0.41", "0.5"), ("0.52", "0.42", ""), ("", "0.3", "0.3"))
    assert main(["ledger", f"paths.submissions={tmp_path}"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:2] == ["date", "file"] and len(out) == 8
    assert [line.split()[0] for line in out[1:5]] == [f"submissions/{n}.csv" for n in range(4)]
    assert out[5].endswith("public score: Pearson 1.00, Spearman 1.00, 3 submissions")
    assert out[6].endswith("private score: 2 submissions have both; a correlation needs three that differ")
    assert out[7] == f"wrote {tmp_path}/ledger.png"
    picture = cv2.imread(str(tmp_path / "ledger.png"))
    assert picture.shape == (600, 600, 3) and picture.std() > 5


def test_no_scores_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", f"paths.submissions={tmp_path}"]) == 0
    assert "nothing was sent yet" in capsys.readouterr().out
    sent(tmp_path, ("0.5", "", ""))
    assert main(["ledger", f"paths.submissions={tmp_path}"]) == 0
    assert not (tmp_path / "ledger.png").exists()
