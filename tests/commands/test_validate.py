"""``./run.sh validate``: verdict, violations, and where the images and sizes come from."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nuclei.cli import main
from nuclei.data.store import COLUMNS
from nuclei.submission.csv_files import write_submission

LABELS = np.array([[1, 0, 2], [1, 0, 2]])


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    write_submission(tmp_path / "s.csv", [("a", LABELS), ("b", LABELS * 0)])
    return tmp_path / "s.csv"


def index(folder: Path, width: int = 3) -> None:
    with zipfile.ZipFile(folder / "x.store", "w") as z:
        rows = [f"a,test,2,{width},1,0,dim,a,", "b,test,2,3,1,0,dim,b,", "c,train,2,3,1,0,dim,c,"]
        z.writestr("index.csv", "\n".join([",".join(COLUMNS), *rows, ""]))


def run(folder: Path, submission: Path, *settings: str) -> int:
    return main(
        [
            "validate",
            f"submission={submission}",
            f"data.root={folder}",
            f"data.store={folder}/x.store",
            *settings,
        ]
    )


def test_valid_by_the_store(tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index(tmp_path)
    assert run(tmp_path, submission) == 0
    expected = f"valid: 3 rows, 2 images; next: ./run.sh submit submission={submission}\n"
    assert capsys.readouterr().out == expected


def test_each_violation_has_a_line(
    tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(tmp_path, width=2)
    submission.write_text("ImageId,EncodedPixels\na,1 2\na,5 2\n")
    assert run(tmp_path, submission) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "line 3, ImageId a: run '5 2' is out of bounds; the last pixel is 4",
        "ImageId b: this image has no row; one without nuclei keeps an empty row",
    ]
    assert err.startswith(f"error: {submission} is not valid: 2 violations, see above")
    assert err.count("\n") == 1


@pytest.mark.parametrize("zipped", [False, True])
def test_without_a_store_the_sample_names_the_images(
    tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str], zipped: bool
) -> None:
    sample = tmp_path / "stage1_sample_submission.csv"
    sample.write_text("ImageId,EncodedPixels\na,1 1\nb,1 1\n")
    if zipped:
        with zipfile.ZipFile(f"{sample}.zip", "w") as z:
            z.write(sample, sample.name)
        sample.unlink()
    assert run(tmp_path, submission) == 0
    assert capsys.readouterr().out.startswith("valid: 3 rows, 2 images (no sizes in ")


def test_a_solution_goes_first(tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index(tmp_path, width=1)
    solution = tmp_path / "stage1_solution.csv"
    solution.write_text("ImageId,EncodedPixels,Height,Width,Usage\na,1 2,2,3,Public\nb,,2,3,Public\n")
    assert run(tmp_path, submission, f"solution={solution}") == 0
    assert f"next: ./run.sh score submission={submission} data=dsb2018" in capsys.readouterr().out


def test_what_is_missing_is_said_on_one_line(
    tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate"]) == 2
    assert "say submission=submissions/NAME.csv" in capsys.readouterr().err
    assert run(tmp_path, submission) == 2
    assert "run ./run.sh prepare, or give solution=PATH" in capsys.readouterr().err
    (tmp_path / "x.store").write_bytes(b"PK")
    assert run(tmp_path, submission) == 2
    assert "x.store is damaged" in capsys.readouterr().err
    (tmp_path / "x.store").unlink()
    (tmp_path / "stage1_sample_submission.csv.zip").write_bytes(b"PK")
    assert run(tmp_path, submission) == 2
    assert "stage1_sample_submission.csv.zip is damaged" in capsys.readouterr().err
    index(tmp_path)
    assert run(tmp_path, tmp_path / "other.csv") == 2
    assert "cannot read the submission" in capsys.readouterr().err


def test_fix_writes_a_fixed_copy_and_names_what_is_left(
    tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(tmp_path)
    broken = "ImageId,EncodedPixels\r\na,[5 2 1 2]\r\n"
    submission.write_bytes(broken.encode())
    assert run(tmp_path, submission, "--fix") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"fixed 4 of 4 violations; wrote {tmp_path}/s_fixed.csv"
    assert out[1].startswith("valid: 2 rows, 2 images; next: ./run.sh submit submission=")
    assert (tmp_path / "s_fixed.csv").read_text() == "ImageId,EncodedPixels\na,1 2 5 2\nb,\n"
    assert submission.read_bytes() == broken.encode()
    submission.write_text("ImageId,EncodedPixels\na, 1 2\na,2 1\nb,\n")
    assert run(tmp_path, submission, "fix=true") == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("fixed 1 of 2 violations")
    assert out.splitlines()[1] == "line 3, ImageId a: overlaps line 2 at pixel 2"
    assert err.startswith(f"error: {tmp_path}/s_fixed.csv is not valid: 1 violations")


def test_what_a_packed_file_holds_is_counted_too(
    tmp_path: Path, submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(tmp_path)
    packed = tmp_path / "s.csv.gz"
    packed.write_bytes(gzip.compress(b"ImageId,EncodedPixels\na,1 2\na,7 1\n"))
    assert run(tmp_path, packed, "fix=true") == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"fixed 2 of 3 violations; wrote {tmp_path / 's_fixed.csv'}" and len(lines) == 2
    assert (tmp_path / "s_fixed.csv").read_text().startswith("ImageId,EncodedPixels\na,1 2\n")
