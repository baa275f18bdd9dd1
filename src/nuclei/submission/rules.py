"""The competition's rules for a submission: every reason why Kaggle would refuse it or score it 0.

All violations are found at once. numpy and the standard library only, so that it answers at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nuclei.errors import UserError
from nuclei.submission import row_reader as runs
from nuclei.submission.csv_line import Row, parse

HEADER = "ImageId,EncodedPixels"
BOM = "\ufeff"
NOT_TEXT = {
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"PK\x03\x04": "a zip file; unpack it first",
    b"\xff\xfe": "UTF-16 text; save it as plain UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as plain UTF-8",
}


class Violation(NamedTuple):
    """One broken rule."""

    line: int
    """The line in the file; the header is line 1, and 0 stands for the file as a whole."""
    image_id: str
    reason: str

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line else []
        place += [f"ImageId {self.image_id}"] if self.image_id else []
        return f"{', '.join(place) or 'file'}: {self.reason}"


def validate(
    path: str | Path, shapes: Mapping[str, tuple[int, int] | None] | Collection[str]
) -> list[Violation]:
    """Return every violation of the rules in a submission, in the order of its lines; none if it is valid.

    Args:
        path: the CSV file.
        shapes: (height, width) of each expected image; None for a size, or ImageIds alone, leave the
            upper bound of runs unchecked.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        raise UserError(f"cannot read the submission {path}: {e.strerror}") from e
    text, found = _text(data)
    if text is None:
        return found
    sizes = shapes if isinstance(shapes, Mapping) else dict.fromkeys(shapes)
    header, *lines = text.split("\n")
    found += _header(header)
    if lines and not lines[-1]:
        lines.pop()  # the end of the last line is no line of its own
    rows = []
    for line, row_text in enumerate(lines, 2):
        row, reasons = parse(line, row_text)
        rows.append(row)
        found += [Violation(line, row.image_id, reason) for reason in reasons]
    found += [*_images(rows, sizes), *_runs(rows, sizes)]
    return sorted(found, key=lambda v: v.line or len(lines) + 2)  # the file as a whole comes last


def _text(data: bytes) -> tuple[str | None, list[Violation]]:
    """Return the file's text with plain line ends, or None where nothing more can be said."""
    if not data.strip():
        return None, [Violation(0, "", "the file is empty")]
    for magic, reason in NOT_TEXT.items():
        if data.startswith(magic):
            return None, [Violation(0, "", reason)]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        return None, [Violation(line, "", f"byte {data[e.start]:#04x} is no UTF-8 text")]
    found = []
    if text.startswith(BOM):
        found.append(Violation(1, "", "a byte-order mark (BOM) before the header; save as UTF-8 without it"))
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        found.append(Violation(line, "", f"Windows line ends on {text.count(chr(13))} lines; use plain \\n"))
    return text.removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n"), found


def _header(header: str) -> list[Violation]:
    if header == HEADER:
        return []
    hint = "; write the table without its index" if header.startswith((",", "Unnamed")) else ""
    return [Violation(1, "", f"wrong header: expected '{HEADER}', got '{header[:80]}'{hint}")]


def _images(rows: list[Row], sizes: Mapping[str, tuple[int, int] | None]) -> Iterator[Violation]:
    """Check that every expected image is there, no other, and none both empty and not."""
    of: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.image_id:
            of[row.image_id].append(row)
    for image_id, group in of.items():
        if image_id not in sizes:
            more = f" (on {len(group)} rows)" if len(group) > 1 else ""
            yield Violation(group[0].line, image_id, f"unknown ImageId{more}")
        if len(group) > 1:
            for row in group:
                if row.empty:
                    yield Violation(row.line, image_id, "an empty row beside other rows of this image")
    for image_id in sizes:
        if image_id not in of:
            yield Violation(0, image_id, "this image has no row; one without nuclei keeps an empty row")


def _runs(rows: list[Row], sizes: Mapping[str, tuple[int, int] | None]) -> Iterator[Violation]:
    """Check the numbers of all rows in one go."""
    texts = []
    for row in rows:
        odd = bool(row.numbers) and row.numbers.count(" ") % 2 == 0
        texts.append(row.numbers.rpartition(" ")[0] if odd else row.numbers)
        if odd:
            count = row.numbers.count(" ") + 1
            yield Violation(row.line, row.image_id, f"an odd count of numbers, {count}; runs are pairs")
    table = runs.Runs.read(texts)
    areas = [_area(sizes.get(row.image_id)) for row in rows]
    images = {image_id: n for n, image_id in enumerate(dict.fromkeys(row.image_id for row in rows))}
    for check in (runs.not_positive, runs.not_ascending):
        yield from _named(rows, check(table))
    yield from _named(rows, runs.out_of_bounds(table, np.array(areas, np.int64)))
    owner = np.array([images[row.image_id] for row in rows], np.int64)
    for later, earlier, pixel in runs.overlaps(table, owner):
        reason = f"overlaps line {rows[earlier].line} at pixel {pixel}"
        yield Violation(rows[later].line, rows[later].image_id, reason)


def _area(shape: tuple[int, int] | None) -> int:
    return shape[0] * shape[1] if shape else runs.UNBOUNDED


def _named(rows: list[Row], bad: list[tuple[int, str]]) -> Iterator[Violation]:
    """Put a line and an ImageId to each (row, reason); the first of a row stands for the rest of it."""
    count = Counter(row for row, _ in bad)
    for row, reason in dict(reversed(bad)).items():
        more = f" (and {count[row] - 1} more in this row)" if count[row] > 1 else ""
        yield Violation(rows[row].line, rows[row].image_id, reason + more)
