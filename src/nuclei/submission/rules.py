"""The competition's rules for a submission: every reason why Kaggle would refuse it or score it 0.

All violations are found at once. numpy and the standard library only, so that the check answers at once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nuclei.errors import UserError
from nuclei.submission.rle import Runs

HEADER = "ImageId,EncodedPixels"
# 18 digits always fit into 64 bits.
VALID_LINE = re.compile(r'([^\s,"\']+),((?:[0-9]{1,18}(?: [0-9]{1,18})*)?)')
INTEGER = re.compile(r"-?[0-9]{1,18}")
INTEGRAL_FLOAT = re.compile(r"(-?[0-9]{1,18})\.0*")
FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?")
BYTE_ORDER_MARK = "\ufeff"
NOT_TEXT = {
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"PK\x03\x04": "a zip file; unpack it first",
    b"\xff\xfe": "UTF-16 text; save it as plain UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as plain UTF-8",
}
UNBOUNDED = 2**40
"""More pixels than any image has; a row's or image's number times this still fits into 64 bits."""


class Violation(NamedTuple):
    """One broken rule, on a line and of an image; line 0 and no image stand for the file as a whole."""

    line: int
    image_id: str
    reason: str

    def __str__(self) -> str:
        # A line read wrongly may have all runs in its ImageId.
        shown = self.image_id if len(self.image_id) <= 64 else f"{self.image_id[:60]}…"
        place = [f"line {self.line}"] * bool(self.line) + [f"ImageId {shown}"] * bool(shown)
        return f"{', '.join(place) or 'file'}: {self.reason}"


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


Shapes = Mapping[str, tuple[int, int] | None]


def find_violations(path: str | Path, shapes: Shapes) -> list[Violation]:
    """Return every violation of the rules in a submission, in the order of its lines; none if it is valid.

    A size of None leaves the ends of an image's runs unchecked.
    """
    return check_submission(read_bytes(path), shapes)


def read_bytes(path: str | Path) -> bytes:
    """Return a submission as it lies on the disk, or raise a UserError."""
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise UserError(f"cannot read the submission {path}: {e.strerror}") from e


def check_submission(data: bytes, shapes: Shapes) -> list[Violation]:
    """Return what ``find_violations`` returns, of the bytes of a file."""
    text, violations = _decode(data)
    if text is None:
        return violations
    header, *texts = text.split("\n")
    if header != HEADER:
        hint = "; write the table without its index" if header.startswith((",", "Unnamed")) else ""
        reason = f"wrong header: expected '{HEADER}', got '{header[:80]}'{hint}"
        violations.append(Violation(1, "", reason))
    if texts and not texts[-1]:
        texts.pop()  # the end of the last line is no line of its own
    lines = []
    for number, line_text in enumerate(texts, 2):
        line, reasons = parse_line(number, line_text)
        lines.append(line)
        violations += [Violation(number, line.image_id, reason) for reason in reasons]
    violations += [*_check_images(lines, shapes), *_check_runs(lines, shapes)]
    return sorted(violations, key=lambda v: v.line or len(texts) + 2)  # the file as a whole comes last


def _decode(data: bytes) -> tuple[str | None, list[Violation]]:
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
    violations = []
    if text.startswith(BYTE_ORDER_MARK):
        reason = "a byte-order mark (BOM) before the header; save as UTF-8 without it"
        violations.append(Violation(1, "", reason))
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        reason = f"Windows line ends on {text.count(chr(13))} lines; use plain \\n"
        violations.append(Violation(line, "", reason))
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n"), violations


def _check_images(lines: list[SubmissionLine], sizes: Shapes) -> Iterator[Violation]:
    """Check that every expected image is there, no other, and none both empty and not."""
    by_image: dict[str, list[SubmissionLine]] = defaultdict(list)
    for line in lines:
        if line.image_id:
            by_image[line.image_id].append(line)
    for image_id, group in by_image.items():
        if image_id not in sizes:
            more = f" (on {len(group)} rows)" if len(group) > 1 else ""
            yield Violation(group[0].number, image_id, f"unknown ImageId{more}")
        if len(group) > 1:
            for line in group:
                if line.empty:
                    yield Violation(line.number, image_id, "an empty row beside other rows of this image")
    for image_id in sizes:
        if image_id not in by_image:
            yield Violation(0, image_id, "this image has no row; one without nuclei keeps an empty row")


def _check_runs(lines: list[SubmissionLine], sizes: Shapes) -> Iterator[Violation]:
    """Check the numbers of all lines in one go."""
    texts = []
    for line in lines:
        odd = bool(line.runs) and line.runs.count(" ") % 2 == 0
        texts.append(line.runs.rpartition(" ")[0] if odd else line.runs)
        if odd:
            count = line.runs.count(" ") + 1
            yield Violation(line.number, line.image_id, f"an odd count of numbers, {count}; runs are pairs")
    runs = Runs.parse(texts)
    shapes = [sizes.get(line.image_id) for line in lines]
    areas = np.array([shape[0] * shape[1] if shape else UNBOUNDED for shape in shapes], np.int64)
    numbers = {image_id: n for n, image_id in enumerate(dict.fromkeys(line.image_id for line in lines))}
    images = np.array([numbers[line.image_id] for line in lines], np.int64)
    for reasons in (not_positive(runs), not_ascending(runs), out_of_bounds(runs, areas)):
        yield from _first_of_each_line(lines, reasons)
    for later, earlier, pixel in overlaps(runs, images):
        reason = f"overlaps line {lines[earlier].number} at pixel {pixel}"
        yield Violation(lines[later].number, lines[later].image_id, reason)


def _first_of_each_line(lines: list[SubmissionLine], reasons: list[tuple[int, str]]) -> Iterator[Violation]:
    """Turn (row, reason) into violations; the first reason of a row stands for the rest of them."""
    count = Counter(row for row, _ in reasons)
    for row, reason in dict(reversed(reasons)).items():
        more = f" (and {count[row] - 1} more in this row)" if count[row] > 1 else ""
        yield Violation(lines[row].number, lines[row].image_id, reason + more)


def looks_row_major(submitted: Mapping[str, Sequence[str]], shapes: Shapes) -> bool:
    """Return whether the runs of most nuclei in a valid submission seem to go along rows, not down columns.

    The runs of a nucleus that are next to each other touch one another, from one column to the next, or else
    they were written in the other order. Nuclei of images as high as wide are in one piece either way.
    """
    sizes = [shapes.get(image_id) or (1, 1) for image_id, nuclei in submitted.items() for _ in nuclei]
    heights, widths = np.array(sizes, np.int64).reshape(-1, 2).T
    runs = Runs.parse([nucleus for nuclei in submitted.values() for nucleus in nuclei])
    pairs = np.flatnonzero(np.diff(runs.row) == 0)
    row = runs.row[pairs]
    by_column, by_row = (
        np.bincount(row, _touch(runs, pairs, side[row]), len(sizes)) for side in (heights, widths)
    )
    count = np.bincount(row, minlength=len(sizes))
    judged = (count >= 2) & (heights != widths) & ((by_column > 0.5 * count) != (by_row > 0.5 * count))
    return bool(judged.any() and np.mean(by_row[judged] > by_column[judged]) > 0.5)


def _touch(runs: Runs, pairs: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return whether the run after each of ``pairs`` lies beside it in lines of ``side`` pixels."""
    start, length = runs.start[pairs], runs.length[pairs]
    above = runs.start[pairs + 1] - side
    return (above < start + length) & (above + runs.length[pairs + 1] > start)


def not_positive(runs: Runs) -> list[tuple[int, str]]:
    """Return the rows with numbers below 1, each with the reason."""
    bad = np.flatnonzero((runs.start < 1) | (runs.length < 1))
    return [(int(runs.row[i]), f"run {runs.text(i)}: a zero or negative number") for i in bad]


def out_of_bounds(runs: Runs, areas: np.ndarray) -> list[tuple[int, str]]:
    """Return the rows with runs beyond the last pixel; ``areas`` has the pixels of each row's image."""
    area = areas[runs.row]
    bad = np.flatnonzero(runs.beyond(area))
    return [
        (int(runs.row[i]), f"run {runs.text(i)} is out of bounds; the last pixel is {area[i]}") for i in bad
    ]


def not_ascending(runs: Runs) -> list[tuple[int, str]]:
    """Return the rows in which a run does not begin at least one pixel after the end of the one before."""
    bad = np.flatnonzero((np.diff(runs.row) == 0) & (np.diff(runs.start) <= runs.length[:-1]))
    reasons = []
    for i in bad:
        step = runs.start[i + 1] - runs.start[i]
        how = "not ascending" if step <= 0 else "touching" if step == runs.length[i] else "overlapping"
        reasons.append((int(runs.row[i]), f"runs {runs.text(i)} and {runs.text(i + 1)} are {how}"))
    return reasons


def overlaps(runs: Runs, images: np.ndarray) -> list[tuple[int, int, int]]:
    """Find rows of one image that share pixels: (later row, earlier row, pixel) for each pair of rows once.

    Every run that begins inside an earlier one is found, so when all of these are fixed nothing overlaps.
    ``images`` has the number of each row's image.
    """
    valid = (runs.start >= 1) & (runs.length >= 1) & (runs.start < UNBOUNDED) & (runs.length < UNBOUNDED)
    # Within a row first, or a row that overlaps itself would hide what it shares with others.
    row, start, last = _merged(Runs(*(column[valid] for column in runs)))
    if not len(row):
        return []
    image = images[row]
    order = np.lexsort((start, image))
    row, start, image = row[order], start[order], image[order]
    end = image * 2 * UNBOUNDED + last[order]
    reach = np.maximum.accumulate(end)
    owner = np.maximum.accumulate(np.where(end == reach, np.arange(len(end)), 0))
    bad = np.flatnonzero(image[1:] * 2 * UNBOUNDED + start[1:] <= reach[:-1])
    pairs: dict[tuple[int, int], int] = {}
    for i in bad:
        earlier, later = sorted((int(row[i + 1]), int(row[owner[i]])))
        pairs.setdefault((later, earlier), int(start[i + 1]))
    return [(later, earlier, pixel) for (later, earlier), pixel in pairs.items()]


def _merged(runs: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the runs of each row that overlap; return row, first and last pixel, ascending in each row."""
    order = np.lexsort((runs.start, runs.row))
    row, start = runs.row[order], runs.start[order]
    base = row * 2 * UNBOUNDED
    reach = np.maximum.accumulate(base + (runs.start + runs.length - 1)[order])
    first = np.flatnonzero(np.concatenate([[True], (base + start)[1:] > reach[:-1]])[: len(row)])
    last = np.append(first[1:], len(row))[: len(first)] - 1
    return row[first], start[first], (reach - base)[last]
