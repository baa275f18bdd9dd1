"""Write and read the competition's CSV files: submissions, and solutions with the truth.

A submission has the columns ``ImageId,EncodedPixels``, one row for each nucleus; a solution also has
``Height,Width,Usage``. An image without nuclei keeps one row with an empty second field.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.submission import rle
from nuclei.submission.rules import HEADER


def write_submission(path: str | Path, rows: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write a submission, whole or not at all, holding one image at a time.

    Args:
        path: the CSV file.
        rows: for each image its ImageId and its label map, integers (H, W).

    Returns:
        The number of rows below the header.

    Raises:
        ValueError: an ImageId comes twice, or is no plain word.
    """
    seen: set[str] = set()
    n = 0
    with atomic_write(path) as part, open(part, "wb") as f:
        f.write(f"{HEADER}\n".encode())
        for image_id, labels in rows:
            if image_id in seen or not image_id or set(image_id) & set(', \t\r\n"'):
                raise ValueError(f"ImageId {image_id!r} comes twice, or is no plain word")
            seen.add(image_id)
            lines = rle.to_lines(image_id, labels)
            f.write(lines)
            n += lines.count(b"\n")
    return n


def read_submission(path: str | Path) -> dict[str, list[str]]:
    """Return the rows of each image, in the order of the file; an empty list for an image without nuclei.

    Only the columns are checked; ``validate`` knows all the rules.

    Raises:
        UserError: the file is missing, is no text, or lacks a column.
    """
    images: dict[str, list[str]] = {}
    for image_id, text in _columns(path, "ImageId", "EncodedPixels"):
        images.setdefault(image_id, []).extend([text] if text else [])
    return images


def read_solution(path: str | Path) -> dict[str, tuple[tuple[int, int], list[str]]]:
    """Return for each image of a solution its (height, width) and its rows.

    Raises:
        UserError: the file is missing, is no text, lacks a column, or has a size that is no number.
    """
    images: dict[str, tuple[tuple[int, int], list[str]]] = {}
    for image_id, text, height, width in _columns(path, "ImageId", "EncodedPixels", "Height", "Width"):
        if not (height.isdecimal() and width.isdecimal()):
            raise UserError(f"{path}: image {image_id} has the size {height!r} x {width!r}; expected numbers")
        images.setdefault(image_id, ((int(height), int(width)), []))[1].extend([text] if text else [])
    return images


def _columns(path: str | Path, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the named columns of every row of a CSV file."""
    rows = _rows(path)
    _, header = next(rows, (1, []))
    if lacking := [name for name in names if name not in header]:
        raise UserError(f"{path} lacks the column {lacking[0]}; its first line is {header}")
    at = [header.index(name) for name in names]
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: expected {len(header)} fields, got {len(row)}")
        yield tuple([row[i] for i in at])


def _rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of every line that is not blank."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise UserError(f"{path} is no CSV text: {e}") from e
    if '"' not in text:
        yield from ((n, line.split(",")) for n, line in enumerate(text.split("\n"), 1) if line)
        return
    csv.field_size_limit(sys.maxsize)  # the default refuses a nucleus of more than 131,072 characters
    reader = csv.reader(io.StringIO(text))
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as e:
        raise UserError(f"{path} is no CSV text: {e}") from e
