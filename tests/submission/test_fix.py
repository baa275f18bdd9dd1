"""What has one right answer is fixed; what has several stays as it was."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.submission.csv_files import write_submission
from nuclei.submission.fix import fix
from nuclei.submission.rules import find_violations

HEAD = "ImageId,EncodedPixels\n"
GOOD = HEAD + "a,1 2 5 1\na,10 3\nb,\n"


def fixed(text: str | bytes) -> str:
    return fix(text if isinstance(text, bytes) else text.encode(), ["a", "b"]).decode()


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        gzip.compress(GOOD.encode(), mtime=0),
        GOOD.encode("utf-16"),
        "\ufeff" + GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.removeprefix(HEAD),
        ' "imageid" , "EncodedPixels"\n' + GOOD.removeprefix(HEAD),
        ",ImageId,EncodedPixels\n0,a,1 2 5 1\n1,a,10 3\n2,b,\n",
        ',ImageId,EncodedPixels\n0,a,"[1, 2, 5, 1]"\n1,a,10 3\n2,b,\n',
        GOOD.replace("\n", "\n\n"),
        GOOD.rstrip("\n"),
        GOOD.replace("1 2 5 1", '"1 2 5 1"'),
        GOOD.replace("1 2 5 1", " 1  2 5\t1 "),
        GOOD.replace("1 2 5 1", "[1, 2, 5, 1]"),
        GOOD.replace("1 2 5 1", "1.0 2. 5 1.00"),
        GOOD.replace("1 2 5 1", "5 1 1 2"),
        GOOD.replace("1 2 5 1", "1 1 2 1 5 1"),
        GOOD.replace("1 2 5 1", "1 2 2 1 5 1 5 1 9 0"),
        GOOD.replace("a,10 3\n", "a,10 3\na,10 3\na,\na,[]\n"),
        GOOD.replace("b,", 'b,""'),
        GOOD.replace("b,", "b,[]"),
        GOOD.replace("b,\n", ""),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace("\n", ",,\n"),
        "EncodedPixels,ImageId\n1 2 5 1,a\n10 3,a\n,b\n",
        ";ImageId;EncodedPixels\n0;a;1 2 5 1\n1;a;10 3\n2;b;\n",
        "\tEncodedPixels\tImageId\n0\t1 2 5 1\ta\n1\t10 3\ta\n2\t\tb\n",
        "EncodedPixels;ImageId\n1 2 5 1;a\n10 3;a\n;b\n",
        ",ImageId,EncodedPixels,\n0,a,1 2 5 1,\n1,a,10 3,\n2,b,,\n",
        "Unnamed: 0,EncodedPixels,ImageId\n0,1 2 5 1,a\n1,10 3,a\n2,,b\n",
        *(GOOD.replace("b,", f"b,{nothing}") for nothing in ("nan", "NaN", "None", "NULL", "-1")),
        GOOD.replace("\na,", "\na.png,").replace("\nb,", "\nb.png,"),
        GOOD.replace("\na,", "\nA,"),
    ],
)  # fmt: skip
def test_one_right_answer(text: str | bytes) -> None:
    assert fixed(text) == GOOD


@pytest.mark.parametrize(
    "rows",
    [
        "a,0 2\nb,\n",
        "a,-1 2\nb,\n",
        "a,1 2 3\nb,\n",
        "a,1.5 2\nb,\n",
        "a,1 2,5 2\nb,\n",
        "a,1 2 x\nb,\n",
        "a,1 5\na,5 2\nb,\n",
        "a,1 2\nc,\n",
        "a,1 2\nb\n",
        ",1 2\na,\nb,\n",
    ],
)
def test_several_answers_or_none(rows: str) -> None:
    assert fixed(HEAD + rows) == HEAD + rows


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x1f\x8bno", b"\xff\xfe\x00", b"a,\xff\n"])
def test_what_is_no_text_stays(data: bytes) -> None:
    assert fix(data, ["a"]) == data


@given(st.integers(0, 2**32 - 1))
def test_a_valid_file_stays_as_it_is(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = {f"i{n}": random.integers(0, 4, random.integers(1, 9, 2)) for n in range(4)}
    path = Path(tmp_path_factory.getbasetemp()) / "valid.csv"
    write_submission(path, maps.items())
    assert fix(path.read_bytes(), maps) == path.read_bytes()


@given(st.text(alphabet='ab,\n\r01239 .[]"-x', max_size=60))
def test_fixing_twice_is_fixing_once_and_never_adds_faults(
    tmp_path_factory: pytest.TempPathFactory, rows: str
) -> None:
    folder = Path(tmp_path_factory.getbasetemp())
    before, after = folder / "before.csv", folder / "after.csv"
    before.write_bytes((HEAD + rows).encode())
    once = fix(before.read_bytes(), ["a", "b"])
    assert fix(once, ["a", "b"]) == once
    after.write_bytes(once)
    shapes = {"a": (4, 5), "b": (4, 5)}
    assert len(find_violations(after, shapes)) <= len(find_violations(before, shapes))
