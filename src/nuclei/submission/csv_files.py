"""The competition's CSV files: submissions, the images that they must have, and solutions that score them.

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.atomic import atomic_write
from nuclei.data.store import ZIP_ERRORS, StoreRow, read_index
from nuclei.errors import UserError
from nuclei.progress import track
from nuclei.submission import rle
from nuclei.submission.rules import HEADER, Shapes, find_violations

PLAIN_ID = re.compile(r'(?![=+@-][^,"]*[^\w.-])[^\s,"]+')


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
