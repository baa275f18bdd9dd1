"""The ledger keeps every row, whatever happens."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nuclei.errors import UserError
from nuclei.kaggle.ledger import COLUMNS, LedgerRow, newest_row, read_ledger, write_row
from nuclei.submission.make_submission import SubmissionRecord


def row(ref: str, **values: str) -> LedgerRow:
    return LedgerRow(**{"ref": ref, "sha256": "s", "status": "pending", "message": ref, **values})


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.csv"
    assert read_ledger(path) == []
    rows = [row("1", message='commas, "quotes"\nand line ends'), row("2", message="µm")]
    for each in rows:
        write_row(path, each)
    assert read_ledger(path) == rows
    assert [p.name for p in path.parent.iterdir() if not p.name.endswith(".lock")] == ["ledger.csv"]


def test_a_score_replaces_the_row_of_the_same_message(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for each in (row("1"), row("2"), row("1", status="complete", public="0.4")):
        write_row(path, each)
    assert [(r.ref, r.status, r.public) for r in read_ledger(path)] == [
        ("1", "complete", "0.4"),
        ("2", "pending", ""),
    ]


def test_the_newest_row_of_a_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    assert newest_row(path, "s") is None
    for each in (row("1"), row("2", status="complete"), row("3", sha256="other")):
        write_row(path, each)
    newest = newest_row(path, "s")
    assert newest and newest.ref == "2"


def test_the_row_of_a_submission_has_its_record(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1")
    record = SubmissionRecord(commit="abc", members="unet/cpu")
    sent, another = (LedgerRow.of_submission(path, record, "first") for _ in range(2))
    assert (sent.commit, sent.members, sent.ref, sent.status) == ("abc", "unet/cpu", "", "sending")
    assert sent.message.startswith("first [") and sent.message != another.message
    assert sent.sha256 == hashlib.sha256(b"1").hexdigest() and sent.date.endswith("+00:00")


def test_a_ledger_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("date,file,sha256,commit,dirty,message,public,private,status,ref\n")
    with pytest.raises(UserError, match=r"move it away and the next ./run\.sh submit begins a new one"):
        write_row(path, row("1"))


@pytest.mark.parametrize("text", ["", "a,b\n", ",".join(COLUMNS) + "\n1,2\n", "\0\xff"])
def test_a_damaged_ledger_is_named_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"ledger\.csv"):
        write_row(path, row("1"))
    assert path.read_bytes() == text.encode("latin-1")


def test_a_ledger_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for each in (row("1"), row("2"), row("3")):
        write_row(path, each)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):  # the last byte is the line end
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"ledger\.csv"):
            read_ledger(path)


def test_two_writers_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    code = (
        "import sys; from nuclei.kaggle.ledger import LedgerRow, write_row\n"
        "for n in range(15): write_row(sys.argv[1], LedgerRow(message=sys.argv[2] + str(n)))"
    )
    same_path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], env=same_path) for name in "ab"
    ]
    assert [w.wait(timeout=60) for w in writers] == [0, 0]
    assert sorted(r.message for r in read_ledger(path)) == sorted(f"{w}{n}" for w in "ab" for n in range(15))


def test_a_row_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    write_row(path, row("1"))
    write_row(path, row("2"))
    write_row(path, row("1"), remove=True)
    assert read_ledger(path) == [row("2")]


@pytest.mark.parametrize("position", range(0, 60, 7))
def test_a_flipped_bit_in_a_row_is_noticed(tmp_path: Path, position: int) -> None:
    path = tmp_path / "ledger.csv"
    write_row(path, row("1", file="submissions/x.csv", oof_nested="0.5981", public="0.4213"))
    data = bytearray(path.read_bytes())
    begin = data.index(b"\n") + 1
    data[begin + position % (len(data) - begin - 1)] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"ledger\.csv, row 2: expected|cannot read the ledger"):
        read_ledger(path)


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\tx", "'quoted", "''", "plain"])
def test_a_formula_is_written_as_text_and_comes_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.csv"
    write_row(path, row("1", message=text, file=text))
    assert read_ledger(path)[0].message == read_ledger(path)[0].file == text
    (cells,) = list(csv.DictReader(path.open(newline="")))
    assert cells["message"][0] == ("p" if text == "plain" else "'")


def test_a_carriage_return_in_a_message_ends_no_row(tmp_path: Path) -> None:
    csv_file = tmp_path / "a.csv"
    csv_file.write_text("ImageId,EncodedPixels\n")
    sent = LedgerRow.of_submission(csv_file, SubmissionRecord(command="x\ry"), "five folds\r")
    assert sent.message.startswith("five folds [")
    write_row(tmp_path / "ledger.csv", sent)
    write_row(tmp_path / "ledger.csv", row("1", message="other"))
    first, _ = read_ledger(tmp_path / "ledger.csv")
    assert (first.message, first.command) == (sent.message, "x y")
