"""Every rule, with the line it is broken on."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuclei.data.sources.demo import draw_nuclei
from nuclei.errors import UserError
from nuclei.submission.csv_files import read_submission, write_submission
from nuclei.submission.rules import Violation, find_violations, looks_row_major

SHAPES = {"a": (4, 5), "b": (4, 5)}
HEAD = "ImageId,EncodedPixels\n"


def check(folder: Path, text: str | bytes) -> list[str]:
    path = folder / "s.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(v) for v in find_violations(path, SHAPES)]


@pytest.mark.parametrize(
    "text", [HEAD + "a,1 2 5 1\na,10 3\nb,\n", HEAD + "a,20 1\nb,1 20", HEAD + "b,\na,1 1\n"]
)
def test_valid(tmp_path: Path, text: str) -> None:
    assert check(tmp_path, text) == []


PADDED = "line 2, ImageId a: padded field; write no spaces around a field and one between numbers"
QUOTED = "line 2, ImageId a: quoted field; write it without quotes"
ONE = [
    ("a,1 2\nb,9 1 5 2\n", "line 3, ImageId b: runs '9 1' and '5 2' are not ascending"),
    ("a,1 2\nb,5 1 5 1\n", "line 3, ImageId b: runs '5 1' and '5 1' are not ascending"),
    ("a,1 2\nb,5 2 7 1\n", "line 3, ImageId b: runs '5 2' and '7 1' are touching"),
    ("a,1 2\nb,5 3 7 1\n", "line 3, ImageId b: runs '5 3' and '7 1' are overlapping"),
    ("a,1 2\nb,1 1 2 1 3 1\n",
     "line 3, ImageId b: runs '1 1' and '2 1' are touching (and 1 more in this row)"),
    ("a,0 2\nb,\n", "line 2, ImageId a: run '0 2': a zero or negative number"),
    ("a,-1 2\nb,\n", "line 2, ImageId a: run '-1 2': a zero or negative number"),
    ("a,1 0\nb,\n", "line 2, ImageId a: run '1 0': a zero or negative number"),
    ("a,20 2\nb,\n", "line 2, ImageId a: run '20 2' is out of bounds; the last pixel is 20"),
    ("a,21 1\nb,\n", "line 2, ImageId a: run '21 1' is out of bounds; the last pixel is 20"),
    ("a,1 999999999999999999\nb,\n",
     "line 2, ImageId a: run '1 999999999999999999' is out of bounds; the last pixel is 20"),
    (f"a,1 {10**30}\nb,\n", "line 2, ImageId a: the number 10000000000000000000… is too large"),
    ("a,1 2 3\nb,\n", "line 2, ImageId a: an odd count of numbers, 3; runs are pairs"),
    ("a,1\nb,\n", "line 2, ImageId a: an odd count of numbers, 1; runs are pairs"),
    ("a,1.0 2\nb,\n", "line 2, ImageId a: a float, '1.0'; numbers are whole"),
    ("a,1.5 2\nb,\n", "line 2, ImageId a: a float, '1.5'; numbers are whole"),
    ("a,1e3 2\nb,\n", "line 2, ImageId a: a float, '1e3'; numbers are whole"),
    ("a,nan\nb,\n", "line 2, ImageId a: 'nan' is no number"),
    ('a,"1 2"\nb,\n', QUOTED),
    ('a,""\nb,\n', QUOTED),
    ('"a",1 2\nb,\n', QUOTED),
    ("a, 1 2\nb,\n", PADDED),
    ("a,1 2 \nb,\n", PADDED),
    ("a,1  2\nb,\n", PADDED),
    ("a,1\t2\nb,\n", PADDED),
    ("a ,1 2\nb,\n", PADDED),
    ("a,[1 2]\nb,\n",
     "line 2, ImageId a: brackets, as of a printed list; write 'start length start length …'"),
    ("a,1 2,5 2\nb,\n",
     "line 2, ImageId a: commas in the second field: a printed list, or more than 2 fields"),
    ("a,\nb\n", "line 3, ImageId b: expected 2 fields 'ImageId,EncodedPixels', got 1"),
    (",1 2\na,\nb,\n", "line 2: no ImageId"),
    ("a,\n\nb,\n", "line 3: blank line"),
    ("a,\nb,\n\n", "line 4: blank line"),
    ("a,\nb,\nc,1 2\nc,5 2\n", "line 4, ImageId c: unknown ImageId (on 2 rows)"),
    ("a,\n", "ImageId b: this image has no row; one without nuclei keeps an empty row"),
    ("a,1 2\na,\nb,\n", "line 3, ImageId a: an empty row beside other rows of this image"),
    ("a,1 5\nb,\na,5 2\n", "line 4, ImageId a: overlaps line 2 at pixel 5"),
    ("a,5 2\nb,\na,1 20\n", "line 4, ImageId a: overlaps line 2 at pixel 5"),
    ("a,5 2\nb,5 2\na,5 2\n", "line 4, ImageId a: overlaps line 2 at pixel 5"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "violation"), ONE, ids=[repr(rows) for rows, _ in ONE])
def test_one_rule_broken_is_one_violation(tmp_path: Path, rows: str, violation: str) -> None:
    assert check(tmp_path, HEAD + rows) == [violation]


@pytest.mark.parametrize(
    ("data", "violation"),
    [
        (b"", "file: the file is empty"),
        (b"\n\n", "file: the file is empty"),
        (gzip.compress(b"ImageId", mtime=0), "file: a gzip file; unpack it first"),
        ("ImageId,EncodedPixels\na,\nb,\n".encode("utf-16"), "file: UTF-16 text; save it as plain UTF-8"),
        (HEAD.encode() + b"\xff,\n", "line 2: byte 0xff is no UTF-8 text"),
        (b"\xef\xbb\xbf" + HEAD.encode() + b"a,\nb,\n",
         "line 1: a byte-order mark (BOM) before the header; save as UTF-8 without it"),
        (b"ImageId,EncodedPixels\r\na,\r\nb,\r\n", "line 1: Windows line ends on 3 lines; use plain \\n"),
        (HEAD.encode() + b"a,1 2\nb,\r\n", "line 3: Windows line ends on 1 lines; use plain \\n"),
        (b"a,1 2\na,4 1\nb,\n", "line 1: wrong header: expected 'ImageId,EncodedPixels', got 'a,1 2'"),
        (b"ImageId, EncodedPixels\na,\nb,\n",
         "line 1: wrong header: expected 'ImageId,EncodedPixels', got 'ImageId, EncodedPixels'"),
    ],
)  # fmt: skip
def test_the_file_as_a_whole(tmp_path: Path, data: bytes, violation: str) -> None:
    assert check(tmp_path, data) == [violation]


def test_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as z:
        z.writestr("s.csv", HEAD)
    assert check(tmp_path, (tmp_path / "s.zip").read_bytes()) == ["file: a zip file; unpack it first"]


def test_a_table_written_with_its_index(tmp_path: Path) -> None:
    found = check(tmp_path, ",ImageId,EncodedPixels\n0,a,1 2\n1,b,\n")
    assert found[0].endswith("got ',ImageId,EncodedPixels'; write the table without its index")


def test_all_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = '\ufeffImageId,Pixels\r\nc,1 2\r\na,[1, 5, 0]\r\na,3 1 3 1\r\na,"18.0 4"\r\n'
    assert [line.split(":")[0] for line in check(tmp_path, text)] == [
        *["line 1"] * 3,
        "line 2, ImageId c",
        *["line 3, ImageId a"] * 3,
        *["line 4, ImageId a"] * 2,
        *["line 5, ImageId a"] * 3,
        "ImageId b",
    ]


def test_a_row_that_overlaps_itself_does_not_hide_what_it_shares(tmp_path: Path) -> None:
    assert check(tmp_path, HEAD + "a,1 9 3 1\na,2 1\na,8 3\nb,\n") == [
        "line 2, ImageId a: runs '1 9' and '3 1' are overlapping",
        "line 3, ImageId a: overlaps line 2 at pixel 2",
        "line 4, ImageId a: overlaps line 2 at pixel 8",
    ]


ROWS = st.lists(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6)), min_size=1, max_size=3), max_size=5
)


@given(ROWS)
@settings(deadline=None)
def test_overlaps_equal_the_reference(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """Rows of one image: a set of pixels for each says who overlaps whom."""
    path = tmp_path_factory.getbasetemp() / "overlaps.csv"
    path.write_text(HEAD + "".join("a," + " ".join(f"{s} {n}" for s, n in row) + "\n" for row in rows))
    pixels = [{p for s, n in row for p in range(s, s + n)} for row in rows]
    pairs = {
        (j, i): pixels[i] & pixels[j] for j in range(len(rows)) for i in range(j) if pixels[i] & pixels[j]
    }
    found = [
        (v.line - 2, v.reason.split()) for v in find_violations(path, {"a": None}) if "overlaps" in v.reason
    ]
    for j, (_, _, line, _, _, pixel) in found:
        assert int(pixel) in pairs[j, int(line) - 2]
    assert bool(found) == bool(pairs)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_valid(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = {f"i{n}": random.integers(0, 4, random.integers(1, 9, 2)) for n in range(4)}
    path = tmp_path_factory.getbasetemp() / "written.csv"
    write_submission(path, maps.items())
    assert find_violations(path, {image_id: labels.shape for image_id, labels in maps.items()}) == []


def test_images_without_sizes_leave_the_bounds_open(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(HEAD + "a,21 1\nb,5 1\nb,5 1\n")
    assert find_violations(path, {"a": None, "b": None}) == [Violation(4, "b", "overlaps line 3 at pixel 5")]
    path.write_text(HEAD + f"a,1 {10**15}\nb,\n")
    assert "out of bounds" in find_violations(path, {"a": None, "b": None})[0].reason


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the submission .*s\.csv: No such file"):
        find_violations(tmp_path / "s.csv", SHAPES)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, nuclei.submission.rules, nuclei.submission.csv_files; "
        "heavy = {'torch', 'pandas', 'scipy', 'cv2', 'hydra', 'lightning'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else 0)"
    )
    env = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_runs_along_rows_are_noticed_where_images_are_not_square(tmp_path: Path) -> None:
    labels = draw_nuclei(np.random.default_rng(0), (60, 100), 12, 6.0, 0.2)
    for shape_of, expected in ((lambda a: a, False), (lambda a: a.T, True)):
        write_submission(tmp_path / "s.csv", [("a", shape_of(labels))])
        submitted = read_submission(tmp_path / "s.csv")
        assert looks_row_major(submitted, {"a": (60, 100)}) is expected
        assert not looks_row_major(submitted, {"a": None}) and not looks_row_major(submitted, {"a": (80, 80)})
    assert not looks_row_major({"a": []}, {"a": (60, 100)})


def test_a_line_in_the_wrong_place_is_shown_in_part(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("EncodedPixels,ImageId\n" + "1 2 " * 500 + ",a\n")
    assert all(len(str(v)) < 200 for v in find_violations(tmp_path / "s.csv", {"a": None}))
