"""The CSV files: written whole, read as they were meant, compared with what they must have."""

from __future__ import annotations

import gzip
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.data.store import COLUMNS
from nuclei.errors import UserError
from nuclei.metrics import confusion
from nuclei.submission.csv_files import (
    ExpectedImages,
    compare_with_solution,
    expected_images,
    fix_submission,
    index_or_nothing,
    read_solution,
    read_submission,
    write_submission,
)
from nuclei.submission.rules import find_violations

TWO = np.array([[1, 0, 2], [1, 0, 2]])


def test_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.csv"
    assert write_submission(path, [("b", TWO), ("a", TWO * 0)]) == 3
    assert path.read_bytes() == b"ImageId,EncodedPixels\nb,1 2\nb,5 2\na,\n"
    assert read_submission(path) == {"b": ["1 2", "5 2"], "a": []}


def test_one_image_is_held_at_a_time(tmp_path: Path) -> None:
    handed: list[weakref.ref[np.ndarray]] = []

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for n in range(3):
            assert sum(labels() is not None for labels in handed) <= 1  # the one that was handed over last
            labels = np.ones((2, 2), int)
            handed.append(weakref.ref(labels))
            yield f"i{n}", labels
            del labels

    assert write_submission(tmp_path / "s.csv", rows()) == 3


@pytest.mark.parametrize(
    "image_id", ["a", "", "a,b", "a b", 'a"', "a\n", "=HYPERLINK(1)", "+1+1", "@SUM(A1)", "-1+1"]
)
def test_a_wrong_id_leaves_the_old_file(tmp_path: Path, image_id: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="twice, or is no plain word"):
        write_submission(path, [("a", TWO), (image_id, TWO)])
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("image_id", ["-1", "+a.b", "@x_2", "=", "a=1+1", "µ-2", "a'"])
def test_an_id_that_is_no_formula_stays_as_it_is(tmp_path: Path, image_id: str) -> None:
    write_submission(tmp_path / "s.csv", [(image_id, TWO)])
    assert list(read_submission(tmp_path / "s.csv")) == [image_id]


def test_read_solution(tmp_path: Path) -> None:
    path = tmp_path / "solution.csv"
    path.write_text(
        "ImageId,EncodedPixels,Height,Width,Usage\na,1 2,2,3,Public\na,5 2,2,3,Public\nb,,4,5,Private\n"
    )
    assert read_solution(path) == {"a": ((2, 3), ["1 2", "5 2"]), "b": ((4, 5), [])}


def test_a_nucleus_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    labels = np.ones((400, 500), int)
    labels[::2] = 0
    write_submission(path, [("a", labels)])
    assert len(read_submission(path)["a"][0]) > 131072


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot read"),
        (b"", "lacks the column ImageId"),
        (
            b"ImageId,Pixels\na,1 2\n",
            "lacks the column EncodedPixels; its first line is ['ImageId', 'Pixels']",
        ),
        (b"ImageId,EncodedPixels\na,1 2\nb\n", "line 3: expected 2 fields, got 1"),
        (b"\x1f\x8b\x08\x00", "is no CSV text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "s.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as e:
        read_submission(path)
    assert message in str(e.value)
    assert str(path) in str(e.value)


def test_a_solution_without_sizes(tmp_path: Path) -> None:
    path = tmp_path / "solution.csv"
    path.write_text("ImageId,EncodedPixels\na,1 2\n")
    with pytest.raises(UserError, match="lacks the column Height"):
        read_solution(path)
    path.write_text("ImageId,EncodedPixels,Height,Width\na,1 2,,3\n")
    with pytest.raises(UserError, match="image a has the size '' x '3'"):
        read_solution(path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = ["a,test,2,3,1,0,dim,a,", "t,train,9,9,1,1,dim,t,", "b,test,4,5,1,0,dim,b,", ""]
    with zipfile.ZipFile(tmp_path / "x.store", "w") as z:
        z.writestr("index.csv", "\n".join([",".join(COLUMNS), *rows]))
    return tmp_path / "x.store"


def test_the_store_has_the_sizes_of_the_test_images(store: Path) -> None:
    assert expected_images(store, "nowhere") == ExpectedImages({"a": (2, 3), "b": (4, 5)}, str(store))
    assert [row.image_id for row in index_or_nothing(store)] == ["a", "t", "b"]
    assert index_or_nothing("no.store") == []


def test_a_solution_goes_before_the_store(store: Path, tmp_path: Path) -> None:
    solution = tmp_path / "solution.csv"
    solution.write_text("ImageId,EncodedPixels,Height,Width,Usage\nc,1 2,6,7,Public\nc,9 1,6,7,Public\n")
    assert expected_images(store, "nowhere", solution) == ExpectedImages({"c": (6, 7)}, str(solution))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_sample_submission_has_no_sizes(tmp_path: Path, line_end: str, zipped: bool) -> None:
    text = line_end.join(["ImageId,EncodedPixels", "b,1 1", "a,1 1", ""]).encode()
    path = tmp_path / f"stage1_sample_submission.csv{'.zip' if zipped else ''}"
    if zipped:
        with zipfile.ZipFile(path, "w") as z:
            z.writestr(path.stem, text)
    else:
        path.write_bytes(text)
    assert expected_images(tmp_path / "no.store", tmp_path) == ExpectedImages(
        {"b": None, "a": None}, str(path)
    )


def test_none_of_them_and_damaged_ones_are_named(tmp_path: Path) -> None:
    store, sample = tmp_path / "x.store", tmp_path / "stage1_sample_submission.csv.zip"
    with pytest.raises(UserError, match=r"which images are expected\? there is no store"):
        expected_images(store, tmp_path)
    sample.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"stage1_sample_submission\.csv\.zip is damaged"):
        expected_images(store, tmp_path)
    store.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"x\.store is damaged"):
        expected_images(store, tmp_path)


TRUE = {"a": np.array([[1, 1, 0, 2], [1, 1, 0, 2]]), "b": np.zeros((2, 3), int)}
PREDICTED = {"a": np.array([[1, 1, 0, 0], [1, 1, 0, 3]]), "b": np.array([[0, 0, 0], [0, 1, 0]])}


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    path = tmp_path / "solution.csv"
    path.write_text(
        "ImageId,EncodedPixels,Height,Width,Usage\na,1 4,2,4,Public\na,7 2,2,4,Public\nb,,2,3,Private\n"
    )
    return path


def test_each_image_has_the_counts_of_the_metric(tmp_path: Path, solution: Path) -> None:
    write_submission(tmp_path / "s.csv", PREDICTED.items())
    counts = compare_with_solution(tmp_path / "s.csv", solution)
    assert list(counts) == ["a", "b"]
    for image_id, count in counts.items():
        np.testing.assert_array_equal(count, confusion(TRUE[image_id], PREDICTED[image_id]))
    assert counts["a"][0].tolist() == [1, 1, 1]  # TP, FP, FN at IoU 0.5: half a nucleus is a miss


def test_ignored_images_are_needed_and_not_scored(
    tmp_path: Path, solution: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_submission(tmp_path / "s.csv", PREDICTED.items())
    solution.write_text(solution.read_text().replace("Public", "Ignored"))
    assert list(compare_with_solution(tmp_path / "s.csv", solution)) == ["b"]
    assert "1 images are marked as ignored" in capsys.readouterr().err
    solution.write_text(solution.read_text().replace("Private", "ignored"))
    with pytest.raises(UserError, match="has no image that is not ignored"):
        compare_with_solution(tmp_path / "s.csv", solution)


def test_missing_images_and_broken_rules_are_named(tmp_path: Path, solution: Path) -> None:
    path = tmp_path / "s.csv"
    write_submission(path, [("a", PREDICTED["a"])])
    with pytest.raises(UserError, match=r"lacks 1 of the 2 images in .*solution\.csv, first b"):
        compare_with_solution(path, solution)
    path.write_text("ImageId,EncodedPixels\na,8 2\nb,\n")
    with pytest.raises(
        UserError, match=r"breaks the rules 1 times, first line 2, ImageId a: run '8 2' is out"
    ):
        compare_with_solution(path, solution)
    solution.write_text("ImageId,EncodedPixels,Height,Width,Usage\n")
    with pytest.raises(UserError, match="has no images"):
        compare_with_solution(path, solution)


HEAD = "ImageId,EncodedPixels\n"
GOOD = HEAD + "a,1 2 5 1\na,10 3\nb,\n"


def fixed(text: str | bytes) -> str:
    return fix_submission(text if isinstance(text, bytes) else text.encode(), ["a", "b"]).decode()


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
    assert fix_submission(data, ["a"]) == data


@given(st.integers(0, 2**32 - 1))
def test_a_valid_file_stays_as_it_is(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = {f"i{n}": random.integers(0, 4, random.integers(1, 9, 2)) for n in range(4)}
    path = Path(tmp_path_factory.getbasetemp()) / "valid.csv"
    write_submission(path, maps.items())
    assert fix_submission(path.read_bytes(), maps) == path.read_bytes()


@given(st.text(alphabet='ab,\n\r01239 .[]"-x', max_size=60))
def test_fixing_twice_is_fixing_once_and_never_adds_faults(
    tmp_path_factory: pytest.TempPathFactory, rows: str
) -> None:
    folder = Path(tmp_path_factory.getbasetemp())
    before, after = folder / "before.csv", folder / "after.csv"
    before.write_bytes((HEAD + rows).encode())
    once = fix_submission(before.read_bytes(), ["a", "b"])
    assert fix_submission(once, ["a", "b"]) == once
    after.write_bytes(once)
    shapes = {"a": (4, 5), "b": (4, 5)}
    assert len(find_violations(after, shapes)) <= len(find_violations(before, shapes))
