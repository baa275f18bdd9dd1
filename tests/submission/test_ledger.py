"""The ledger keeps every row, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nuclei.errors import UserError
from nuclei.kaggle import ledger


def row(ref: str, **values: str) -> ledger.Row:
    return dict.fromkeys(ledger.COLUMNS, "") | {"ref": ref, "sha256": "s", "status": "pending"} | values


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.csv"
    assert ledger.read(path) == []
    rows = [row("1", message='commas, "quotes"\nand line ends'), row("2", message="µm")]
    for each in rows:
        ledger.record(path, each)
    assert ledger.read(path) == rows
    assert [p.name for p in path.parent.iterdir()] == ["ledger.csv"]


def test_a_score_replaces_the_row_of_the_same_number(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for each in (row("1"), row("2"), row("1", status="complete", public="0.4")):
        ledger.record(path, each)
    assert [(r["ref"], r["status"], r["public"]) for r in ledger.read(path)] == [
        ("1", "complete", "0.4"),
        ("2", "pending", ""),
    ]


def test_sent_is_the_newest_row_of_a_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    assert ledger.sent(path, "s") is None
    for each in (row("1"), row("2", status="complete"), row("3", sha256="other")):
        ledger.record(path, each)
    found = ledger.sent(path, "s")
    assert found and found["ref"] == "2"


def test_a_ledger_of_the_earlier_version_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text(",".join(ledger.OLD) + "\n" + ",".join(f"old {name}" for name in ledger.OLD) + "\n")
    ledger.record(path, row("2", members="unet/cpu"))
    first, second = ledger.read(path)
    assert [first[name] for name in ledger.OLD] == [f"old {name}" for name in ledger.OLD]
    assert first["members"] == first["oof_nested"] == "" and second["members"] == "unet/cpu"
    assert path.read_text().splitlines()[0] == ",".join(ledger.COLUMNS)


@pytest.mark.parametrize("text", ["", "a,b\n", ",".join(ledger.COLUMNS) + "\n1,2\n", "\0\xff"])
def test_a_damaged_ledger_is_named_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_bytes(text.encode("latin-1"))
    if not text:
        assert ledger.read(path) == []
        return
    with pytest.raises(UserError, match=r"ledger\.csv"):
        ledger.record(path, row("1"))
    assert path.read_bytes() == text.encode("latin-1")


def test_two_writers_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    code = (
        "import sys; from nuclei.submission import ledger\n"
        "for n in range(15): ledger.record(sys.argv[1], dict.fromkeys(ledger.COLUMNS, '') "
        "| {'ref': sys.argv[2] + str(n)})"
    )
    same_path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], env=same_path) for name in "ab"
    ]
    assert [w.wait(timeout=60) for w in writers] == [0, 0]
    assert sorted(r["ref"] for r in ledger.read(path)) == sorted(f"{w}{n}" for w in "ab" for n in range(15))
