"""Fix what has one right answer in a submission; what has several stays, for ``validate`` to name.

Fixed: gzip and UTF-16, a byte-order mark, line ends; a header that is padded, quoted or missing; semicolons
or tabs for commas, swapped columns, an index column, commas at the ends of lines; blank lines; quotes,
spaces, brackets, floats such as 3.0, NaN or -1 for nothing; an ImageId with a file's ending or in capitals;
runs that are empty, not ascending, or that touch or overlap within their row; a row that comes twice; an
image's needless or missing empty row.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from nuclei.atomic import atomic_write
from nuclei.submission.rules import BYTE_ORDER_MARK, HEADER, SubmissionLine, parse_line

NOTHING = {"nan", "none", "null", "na", "n/a", "-1"}
"""What programs write for an empty field."""
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def write_fixed(path: Path, data: bytes) -> Path:
    """Write the fixed copy of a submission beside it, and return its path."""
    copy = path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + "_fixed.csv")
    with atomic_write(copy) as part:
        part.write_bytes(data)
    return copy


def fix(data: bytes, images: Iterable[str]) -> bytes:
    """Return a submission, a whole file, with everything fixed that has one right answer.

    >>> fix(b'ImageId,EncodedPixels\\r\\na,"[5, 2, 1, 3]"\\r\\n', ["a", "b"])
    b'ImageId,EncodedPixels\\na,1 3 5 2\\nb,\\n'
    """
    text = _decode(data)
    if text is None:
        return data
    expected = list(images)
    lines = [line for line in _two_columns(text.split("\n")) if line.strip()]
    if lines and _is_header(lines[0]):
        lines[0] = HEADER
    elif lines and parse_line(1, lines[0])[0].image_id in expected:
        lines.insert(0, HEADER)
    if lines[:1] != [HEADER]:
        return data
    by_name: dict[str, list[str]] = {}
    for image in expected:
        by_name.setdefault(image.lower(), []).append(image)
    fixed = [_with_known_id(_fix_line(line), by_name) for line in lines[1:]]
    return "".join(f"{line}\n" for line in [HEADER, *_fix_rows(fixed, expected)]).encode()


def unpack(data: bytes) -> bytes:
    """Return the UTF-8 text of a file in gzip or UTF-16; others, and damaged ones, as they are."""
    try:
        text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        return text.decode("utf-16").encode() if text[:2] in (b"\xff\xfe", b"\xfe\xff") else text
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return data


def _decode(data: bytes) -> str | None:
    """Return the text in gzip, UTF-16 or UTF-8; None where the data are none of them."""
    try:
        text = unpack(data).decode().removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError:
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_header(line: str) -> bool:
    return "".join(c for c in line if c not in " \t\"'").lower() == HEADER.lower()


def _two_columns(lines: list[str]) -> list[str]:
    """Return the lines of a table as its header says they are meant: ImageId, a comma, the runs."""
    for separator in (";", "\t"):
        if "," not in lines[0] and _has_both_names(lines[0].replace(separator, ",")):
            columns = lines[0].count(separator)
            lines = [line.replace(separator, ",", columns) for line in lines]
    needless = len(lines[0]) - len(lines[0].rstrip(","))
    if needless and _has_both_names(lines[0]):
        lines = [line.removesuffix("," * needless) for line in lines]
    first, _, rest = lines[0].partition(",")
    if first.strip("\"' ") in ("", "Unnamed: 0") and _has_both_names(rest):
        lines = [line.partition(",")[2] for line in lines]
    first, _, rest = lines[0].partition(",")
    if _is_header(f"{rest},{first}"):
        return [",".join(reversed(line.rsplit(",", 1))) for line in lines]
    return lines


def _has_both_names(header: str) -> bool:
    """Return whether a header names the two columns, in any order, beside an index and empty ends."""
    names = [name.strip("\"' ") for name in header.rstrip(",").split(",")]
    names = names[1:] if names[:1] in ([""], ["Unnamed: 0"]) else names
    return len(names) == 2 and any(_is_header(",".join(pair)) for pair in (names, names[::-1]))


def _with_known_id(line: str | SubmissionLine, by_name: Mapping[str, Sequence[str]]) -> str | SubmissionLine:
    """Return a line with the expected ImageId that its own can only mean, if it is another one.

    ``by_name`` has the expected ImageIds by their name in small letters.
    """
    if isinstance(line, str) or line.image_id in by_name.get(name := line.image_id.lower(), ()):
        return line
    names = {name, *(name.removesuffix(end) for end in ENDINGS)}
    meant = [image for each in names for image in by_name.get(each, ())]
    return line._replace(image_id=meant[0]) if len(meant) == 1 else line


def _fix_line(text: str) -> str | SubmissionLine:
    """Return what a line means, or the line itself where its numbers cannot be told for certain."""
    image_id, comma, field = text.partition(",")
    text = image_id + comma if field.strip().lower() in NOTHING else text
    line, reasons = parse_line(0, text)
    more_fields = any("commas" in reason for reason in reasons) and not set(text) & set("[({\"'")
    readable = line.runs or line.empty or not any(c.isalnum() for c in text.partition(",")[2])
    if not line.image_id or "," not in text or not readable or more_fields:
        return text
    numbers = [int(number) for number in line.runs.split()]
    if len(numbers) % 2 or min(numbers, default=1) < 0 or 0 in numbers[::2]:
        return line._replace(empty=False)
    numbers = _merge_runs(numbers)
    return line._replace(runs=" ".join(map(str, numbers)), empty=not numbers)


def _merge_runs(numbers: list[int]) -> list[int]:
    """Sort the runs of one nucleus, drop empty ones, and join those that touch or overlap.

    >>> _merge_runs([9, 1, 1, 2, 3, 2, 7, 0])
    [1, 4, 9, 1]
    """
    runs: list[list[int]] = []
    for start, length in sorted(zip(numbers[::2], numbers[1::2], strict=True)):
        if runs and start <= sum(runs[-1]):
            runs[-1][1] = max(runs[-1][1], start + length - runs[-1][0])
        elif length:
            runs.append([start, length])
    return list(chain.from_iterable(runs))


def _fix_rows(lines: list[str | SubmissionLine], images: list[str]) -> list[str]:
    """Return the rows as text, without repeated and needless empty ones, and with the missing empty ones."""
    parsed = [line if isinstance(line, SubmissionLine) else parse_line(0, line)[0] for line in lines]
    present = {line.image_id for line in parsed}
    filled = {line.image_id for line in lines if isinstance(line, SubmissionLine) and not line.empty}
    rows: dict[str, None] = {}  # a set that keeps its order
    for line in lines:
        if isinstance(line, str):
            rows[line] = None
        elif not line.empty or line.image_id not in filled:
            rows[f"{line.image_id},{line.runs}"] = None
    # An unknown ImageId may be a missing one, misspelt.
    missing = [image for image in images if image not in present] if present <= set(images) else []
    return [*rows, *(f"{image}," for image in missing)]
