"""Mend what has one right answer in a submission; what has several stays, for ``validate`` to name.

Mended: gzip and UTF-16, a byte-order mark, line ends; a header that is padded, quoted or missing; an index
column; blank lines; quotes, spaces, brackets, floats such as 3.0; runs that are empty, not ascending, or
that touch or overlap within their row; a row that comes twice; an image's needless or missing empty row.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from itertools import chain

from nuclei.submission.csv_line import Row, parse
from nuclei.submission.rules import BOM, HEADER


def mend(data: bytes, images: Iterable[str]) -> bytes:
    """Return the file with everything mended that has one right answer.

    Args:
        data: the whole file.
        images: the expected ImageIds.

    >>> mend(b'ImageId,EncodedPixels\\r\\na,"[5, 2, 1, 3]"\\r\\n', ["a", "b"])
    b'ImageId,EncodedPixels\\na,1 3 5 2\\nb,\\n'
    """
    text = _text(data)
    if text is None:
        return data
    expected = list(images)
    lines = [line for line in _without_index(text.split("\n")) if line.strip()]
    if lines and _is_header(lines[0]):
        lines[0] = HEADER
    elif lines and parse(1, lines[0])[0].image_id in expected:
        lines.insert(0, HEADER)
    if lines[:1] != [HEADER]:
        return data
    mended = [_line(line) for line in lines[1:]]
    return "".join(f"{line}\n" for line in [HEADER, *_rows(mended, expected)]).encode()


def _text(data: bytes) -> str | None:
    """Return the text in gzip, UTF-16 or UTF-8; None where it is none of them."""
    try:
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        return data.decode(encoding).removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None


def _is_header(line: str) -> bool:
    return "".join(c for c in line if c not in " \t\"'").lower() == HEADER.lower()


def _without_index(lines: list[str]) -> list[str]:
    """Drop the first column where a table was written with its index."""
    first, comma, rest = (lines or [""])[0].partition(",")
    if not comma or first.strip("\"' ") not in ("", "Unnamed: 0") or not _is_header(rest):
        return lines
    return [line.partition(",")[2] for line in lines]


def _line(line: str) -> str | Row:
    """Return the row in a line, or the line itself where its numbers cannot be told for certain."""
    row, reasons = parse(0, line)
    third = any("commas" in reason for reason in reasons) and not set(line) & set("[({\"'")
    readable = row.numbers or row.empty or not any(c.isalnum() for c in line.partition(",")[2])
    if not row.image_id or "," not in line or not readable or third:
        return line
    numbers = [int(number) for number in row.numbers.split()]
    if len(numbers) % 2 or min(numbers, default=1) < 0 or 0 in numbers[::2]:
        return row._replace(empty=False)
    numbers = _merged(numbers)
    return row._replace(numbers=" ".join(map(str, numbers)), empty=not numbers)


def _merged(numbers: list[int]) -> list[int]:
    """Sort the runs of one nucleus, drop empty ones, and join those that touch or overlap.

    >>> _merged([9, 1, 1, 2, 3, 2, 7, 0])
    [1, 4, 9, 1]
    """
    runs: list[list[int]] = []
    for start, length in sorted(zip(numbers[::2], numbers[1::2], strict=True)):
        if runs and start <= sum(runs[-1]):
            runs[-1][1] = max(runs[-1][1], start + length - runs[-1][0])
        elif length:
            runs.append([start, length])
    return list(chain.from_iterable(runs))


def _rows(lines: list[str | Row], images: list[str]) -> list[str]:
    """Write the rows; drop repeated and needless empty ones, add the empty rows that lack."""
    rows = [line for line in lines if isinstance(line, Row)]
    filled = {row.image_id for row in rows if not row.empty}
    known = {row.image_id for row in rows} | {
        parse(0, line)[0].image_id for line in lines if isinstance(line, str)
    }
    written: dict[str, None] = {}  # a set that keeps its order
    for line in lines:
        if isinstance(line, str):
            written[line] = None
        elif not line.empty or line.image_id not in filled:
            written[f"{line.image_id},{line.numbers}"] = None
    # An unknown ImageId may be a missing one, misspelt.
    lacking = [image for image in images if image not in known] if known <= set(images) else []
    return [*written, *(f"{image}," for image in lacking)]
