"""Read and write the competition's CSV files: submissions, and solutions with the true nuclei.

A submission has the columns ``ImageId,EncodedPixels``, one row for each nucleus; a solution also has
``Height,Width,Usage``. An image without nuclei keeps one row with an empty second field.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nuclei.atomic import atomic_write
from nuclei.data.store import ZIP_ERRORS
from nuclei.errors import UserError

if TYPE_CHECKING:
    import numpy as np

HEADER = "ImageId,EncodedPixels"
# 18 digits always fit into 64 bits.
VALID_LINE = re.compile(r'([^\s,"\']+),((?:[0-9]{1,18}(?: [0-9]{1,18})*)?)')
PLAIN_ID = re.compile(r'(?![=+@-][^,"]*[^\w.-])[^\s,"]+')
INTEGER = re.compile(r"-?[0-9]{1,18}")
INTEGRAL_FLOAT = re.compile(r"(-?[0-9]{1,18})\.0*")
FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?")


def as_text(value: str) -> str:
    """Return a value as a spreadsheet takes it for a text: ' before what might begin a formula."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "'")) else value


def is_plain(image_id: str) -> bool:
    """Return whether an ImageId is a word without commas and quotes, and no formula, such as ``-1+1``."""
    return bool(PLAIN_ID.fullmatch(image_id))


def write_submission(path: str | Path, labelled_images: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write a submission, holding one image at a time; return the number of rows below the header.

    Args:
        labelled_images: for each image its ImageId and its label map, integers (H, W).

    Raises:
        ValueError: an ImageId comes twice, or is no plain word.
    """
    from nuclei.submission.rle import to_lines

    written: set[str] = set()
    n_rows = 0
    with atomic_write(path) as part, open(part, "wb") as f:
        f.write(f"{HEADER}\n".encode())
        for image_id, labels in labelled_images:
            if image_id in written or not is_plain(image_id):
                raise ValueError(f"ImageId {image_id!r} comes twice, or is no plain word")
            written.add(image_id)
            lines = to_lines(image_id, labels)
            f.write(lines)
            n_rows += lines.count(b"\n")
    return n_rows


def read_submission(path: str | Path) -> dict[str, list[str]]:
    """Return the runs of each image, in the order of the file; an empty list for an image without nuclei.

    A zip that holds the CSV file will do. Only the columns are checked; see ``nuclei.submission.rules``.

    Raises:
        UserError: the file is missing or damaged, is no text, or lacks a column.
    """
    images: dict[str, list[str]] = {}
    for image_id, text in _columns(path, "ImageId", "EncodedPixels"):
        images.setdefault(image_id, []).extend([text] if text else [])
    return images


def read_solution(path: str | Path) -> dict[str, tuple[tuple[int, int], list[str]]]:
    """Return for each image of a solution its (height, width) and its runs.

    Raises:
        UserError: the file is missing, is no text, lacks a column, or has a size that is no number.
    """
    images: dict[str, tuple[tuple[int, int], list[str]]] = {}
    for image_id, text, height, width in _columns(path, "ImageId", "EncodedPixels", "Height", "Width"):
        if not (height.isdecimal() and width.isdecimal()):
            raise UserError(f"{path}: image {image_id} has the size {height!r} x {width!r}; expected numbers")
        images.setdefault(image_id, ((int(height), int(width)), []))[1].extend([text] if text else [])
    return images


def read_ignored(path: str | Path) -> set[str]:
    """Return the images that a solution marks as ``Ignored`` in its column ``Usage``; none without one.

    Raises:
        UserError: the file is missing, is no text, or lacks the ImageIds.
    """
    if "Usage" not in next(_fields(path), (1, []))[1]:
        return set()
    return {image_id for image_id, usage in _columns(path, "ImageId", "Usage") if usage.lower() == "ignored"}


def _columns(path: str | Path, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the named columns of every row of a CSV file."""
    lines = _fields(path)
    _, header = next(lines, (1, []))
    if lacking := [name for name in names if name not in header]:
        raise UserError(f"{path} lacks the column {lacking[0]}; its first line is {header}")
    positions = [header.index(name) for name in names]
    for number, fields in lines:
        if len(fields) != len(header):
            raise UserError(f"{path}, line {number}: expected {len(header)} fields, got {len(fields)}")
        yield tuple([fields[i] for i in positions])


def _fields(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of every line that is not blank."""
    try:
        text = _read(Path(path)).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise UserError(f"{path} is no CSV text: {e}") from e
    except ZIP_ERRORS as e:
        raise UserError(f"{path} is damaged ({e}); download it again") from e
    if '"' not in text:
        yield from ((n, line.split(",")) for n, line in enumerate(text.split("\n"), 1) if line)
        return
    csv.field_size_limit(sys.maxsize)  # the default refuses a nucleus of more than 131,072 characters
    reader = csv.reader(io.StringIO(text))
    try:
        yield from ((reader.line_num, fields) for fields in reader if fields)
    except csv.Error as e:
        raise UserError(f"{path} is no CSV text: {e}") from e


def _read(path: Path) -> bytes:
    """Return the bytes of a file, or of the file in a zip that has the zip's name."""
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as z:
        return z.read(path.stem)


class SubmissionLine(NamedTuple):
    """One line below the header, as far as its meaning can be told; the header is line 1.

    The runs are whole numbers with one space between them; ``empty`` means that none were meant to be there.
    """

    number: int
    image_id: str
    runs: str
    empty: bool


def parse_line(number: int, text: str) -> tuple[SubmissionLine, list[str]]:
    """Return what a line means, and each way in which its form breaks the rules.

    A line of bad form is still read as far as possible, so that its numbers are checked as well.

    >>> parse_line(2, "a,1 2 3 4")
    (SubmissionLine(number=2, image_id='a', runs='1 2 3 4', empty=False), [])
    >>> parse_line(3, "a,[1, 2.0]")[0].runs
    '1 2'
    """
    if valid := VALID_LINE.fullmatch(text):
        return SubmissionLine(number, valid[1], valid[2], not valid[2]), []
    if not text.strip():
        return SubmissionLine(number, "", "", False), ["blank line"]
    reasons = []
    plain = text.replace('"', "").replace("'", "")
    if plain != text:
        reasons.append("quoted field; write it without quotes")
    image_id, comma, field = plain.partition(",")
    if not comma:
        reasons.append("expected 2 fields 'ImageId,EncodedPixels', got 1")
    if image_id.strip() == "":
        reasons.append("no ImageId")
    runs, more = _parse_field(field)
    if image_id != image_id.strip() or field != " ".join(field.split()):
        reasons.append("padded field; write no spaces around a field and one between numbers")
    empty = bool(comma) and not field.strip()
    return SubmissionLine(number, image_id.strip(), runs, empty), reasons + more


def _parse_field(field: str) -> tuple[str, list[str]]:
    """Return the whole numbers in a second field of bad form, and what else the field holds."""
    reasons = []
    bare = field.translate(str.maketrans("[](){}", "      "))
    if bare != field:
        reasons.append("brackets, as of a printed list; write 'start length start length …'")
    if "," in bare:
        reasons.append("commas in the second field: a printed list, or more than 2 fields")
    words = bare.replace(",", " ").split()
    numbers = [
        integral[1] if (integral := INTEGRAL_FLOAT.fullmatch(word)) else word
        for word in words
        if INTEGER.fullmatch(word) or INTEGRAL_FLOAT.fullmatch(word)
    ]
    odd = [word for word in words if not INTEGER.fullmatch(word)]
    if floats := [word for word in odd if FLOAT.fullmatch(word) and not word.isdigit()]:
        reasons.append(f"a float, '{floats[0][:20]}'; numbers are whole")
    if large := [word for word in odd if word.lstrip("-").isdigit()]:
        reasons.append(f"the number {large[0][:20]}… is too large")
    if strange := [word for word in odd if not FLOAT.fullmatch(word)]:
        reasons.append(f"'{strange[0][:20]}' is no number")
    # A word that could not be read would shift the pairs, and every check of them would be wrong.
    return (" ".join(numbers) if len(numbers) == len(words) else ""), reasons
