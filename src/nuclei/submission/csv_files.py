"""The competition's CSV files: submissions, the images that they must have, and solutions that score them.

A submission has the columns ``ImageId,EncodedPixels``, one row for each nucleus; a solution also has
``Height,Width,Usage``. An image without nuclei keeps one row with an empty second field.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from nuclei.atomic import atomic_write
from nuclei.data.store import ZIP_ERRORS, StoreRow, read_index
from nuclei.errors import UserError
from nuclei.progress import track
from nuclei.submission import rle
from nuclei.submission.rules import (
    BYTE_ORDER_MARK,
    HEADER,
    Shapes,
    SubmissionLine,
    find_violations,
    parse_line,
)

PLAIN_ID = re.compile(r'(?![=+@-][^,"]*[^\w.-])[^\s,"]+')
NOTHING = {"nan", "none", "null", "na", "n/a", "-1"}
"""What programs write for an empty field."""
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def is_plain(image_id: str) -> bool:
    """Return whether an ImageId is a word without commas and quotes, and no formula, such as ``-1+1``."""
    return bool(PLAIN_ID.fullmatch(image_id))


def write_submission(path: str | Path, labelled_images: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write a submission, holding one image at a time; return the number of rows below the header.

    Each image is an ImageId and a label map, integers (H, W).

    Raises:
        ValueError: an ImageId comes twice, or is no plain word.
    """
    written: set[str] = set()
    n_rows = 0
    with atomic_write(path) as part, open(part, "wb") as f:
        f.write(f"{HEADER}\n".encode())
        for image_id, labels in labelled_images:
            if image_id in written or not is_plain(image_id):
                raise ValueError(f"ImageId {image_id!r} comes twice, or is no plain word")
            written.add(image_id)
            lines = rle.to_lines(image_id, labels)
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

    A size that is no number is an error, and so is what ``read_submission`` refuses.
    """
    images: dict[str, tuple[tuple[int, int], list[str]]] = {}
    for image_id, text, height, width in _columns(path, "ImageId", "EncodedPixels", "Height", "Width"):
        if not (height.isdecimal() and width.isdecimal()):
            raise UserError(f"{path}: image {image_id} has the size {height!r} x {width!r}; expected numbers")
        images.setdefault(image_id, ((int(height), int(width)), []))[1].extend([text] if text else [])
    return images


def read_ignored(path: str | Path) -> set[str]:
    """Return the images that a solution marks as ``Ignored`` in its column ``Usage``; none without one."""
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


@dataclass(frozen=True)
class ExpectedImages:
    """The test images that a submission must have, and the file that names them.

    Each image has its (height, width), or None where the size is not known.
    """

    shapes: Shapes
    source: str


def expected_images(
    store: str | Path, root: str | Path, solution: str | Path | None = None
) -> ExpectedImages:
    """Return the test images that a submission must have: of the solution, the store, or the sample.

    The sample submission, among the competition's files in ``root``, has no sizes.

    Raises:
        UserError: there is none of the three, or the first of them is damaged.
    """
    if solution:
        shapes = {image_id: shape for image_id, (shape, _) in read_solution(solution).items()}
        return ExpectedImages(shapes, str(solution))
    rows = [row for row in index_or_nothing(store) if row.split == "test"]
    if rows:
        return ExpectedImages({row.image_id: (row.height, row.width) for row in rows}, str(store))
    for name in ("stage1_sample_submission.csv", "stage1_sample_submission.csv.zip"):
        sample = Path(root) / name
        if sample.is_file():
            return ExpectedImages(dict.fromkeys(read_submission(sample)), str(sample))
    raise UserError(
        f"which images are expected? there is no store {store} and no sample submission in {root}; "
        "run ./run.sh prepare, or give solution=PATH"
    )


def index_or_nothing(store: str | Path) -> list[StoreRow]:
    """Return the index of a store; no rows where there is no store."""
    return read_index(store) if Path(store).is_file() else []


def check_solution(solution: str | None, data: str) -> None:
    """Refuse a solution that is not there, with advice for the data set."""
    if solution and Path(solution).is_file():
        return
    advice = f"run ./run.sh prepare data={data}, or give solution=PATH"
    if data == "dsb2018":
        advice = (
            "the truth of the test images is not among the competition's data; "
            "score out-of-fold maps instead: ./run.sh score run=unet/default"
        )
    raise UserError(f"no solution at {solution}: {advice}")


def compare_with_solution(submission: str | Path, solution: str | Path) -> dict[str, np.ndarray]:
    """Return for each image of the solution that counts what ``nuclei.metrics.confusion`` gives.

    Raises:
        UserError: a file cannot be read, or the submission breaks the rules or lacks images.
    """
    from nuclei.metrics import confusion  # starts slowly, and ``validate`` needs the images alone

    true_images = read_solution(solution)
    if not true_images:
        raise UserError(f"{solution} has no images")
    predicted_runs = read_submission(submission)
    if missing := [image_id for image_id in true_images if image_id not in predicted_runs]:
        raise UserError(
            f"{submission} lacks {len(missing)} of the {len(true_images)} images in {solution}, first "
            f"{missing[0]}; are the two of one data set?"
        )
    shapes = {image_id: shape for image_id, (shape, _) in true_images.items()}
    if violations := find_violations(submission, shapes):
        raise UserError(
            f"{submission} breaks the rules {len(violations)} times, first {violations[0]}; "
            f"./run.sh validate submission={submission} solution={solution} lists them all"
        )
    ignored = read_ignored(solution) & true_images.keys()
    if ignored:
        print(f"{len(ignored)} images are marked as ignored in {solution} and not scored", file=sys.stderr)
    scored = {image_id: image for image_id, image in true_images.items() if image_id not in ignored}
    if not scored:
        raise UserError(f"{solution} has no image that is not ignored")
    counts = {}
    for image_id, (shape, true_runs) in track(scored.items(), "score", len(scored)):
        prediction = rle.decode(predicted_runs[image_id], shape)
        try:
            counts[image_id] = confusion(rle.decode(true_runs, shape, allow_overlap=True), prediction)
        except UserError as e:
            raise UserError(f"{solution}, image {image_id}: {e}") from e
    return counts


def write_fixed(path: Path, data: bytes) -> Path:
    """Write the fixed copy of a submission beside it, and return its path."""
    copy = path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + "_fixed.csv")
    with atomic_write(copy) as part:
        part.write_bytes(data)
    return copy


def fix_submission(data: bytes, images: Iterable[str]) -> bytes:
    """Return a submission, a whole file, with everything fixed that has one right answer.

    What has several stays, for ``validate`` to name. Fixed are: gzip and UTF-16, a byte-order mark, line
    ends; a header that is padded, quoted or missing; semicolons or tabs for commas, swapped columns, an index
    column, commas at the ends of lines; blank lines; quotes, spaces, brackets, floats such as 3.0, NaN or -1
    for nothing; an ImageId with a file's ending or in capitals; runs that are empty, not ascending, or that
    touch or overlap within their row; a row that comes twice; an image's needless or missing empty row.

    >>> fix_submission(b'ImageId,EncodedPixels\\r\\na,"[5, 2, 1, 3]"\\r\\n', ["a", "b"])
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
