"""Records in JSON files: what is written comes back, and nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nuclei.json_files import read_json, write_json

VALUES = {"name": "nucleus ✓", "score": 0.1 + 0.2, "none": None, "steps": [{"low": 0.5}, {}], "flag": True}


def test_values_come_back(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", VALUES)
    assert read_json(tmp_path / "x.json") == VALUES
    write_json(tmp_path / "x.json", {"ints": {10: 1, 9: (2, 3)}})
    assert read_json(tmp_path / "x.json") == {"ints": {"10": 1, "9": [2, 3]}}


def test_a_file_that_was_only_written_otherwise_is_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", VALUES)
    values = json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "x.json").write_text(json.dumps(dict(reversed(values.items()))))
    assert read_json(tmp_path / "x.json") == VALUES


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", VALUES)
    data = (tmp_path / "x.json").read_bytes()
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "x.json").write_bytes(damaged)
        try:
            assert read_json(tmp_path / "x.json") == VALUES  # a space that became another white space
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"checksum": 1}', "[" * 100_000])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")
    with pytest.raises(OSError):
        read_json(tmp_path / "none.json")
