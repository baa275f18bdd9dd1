"""Tables of images and of their nuclei as CSV, and the record by which a later call goes on."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nuclei.atomic import atomic_write, read_json, write_json
from nuclei.data.image_files import TABLE, File, file_stamp
from nuclei.data.image_stores import is_address
from nuclei.errors import UserError
from nuclei.inference.measure import Columns, value_text
from nuclei.inference.parquet_parts import Report
from nuclei.inference.segment_files import Result, SegmentedImage, are_saved
from nuclei.progress import track

RECORD = "predict.json"
"""What the results of an earlier run depend on."""
NUCLEI, RUNS = "nuclei.csv", "submission.csv"
TABLES = (TABLE, NUCLEI, RUNS)
TEXT = ("image", "path", "modality", "chosen", "warnings", "class")
"""Columns that are put in quotes, as some programs take names such as NA or 001 for something else."""
Row = dict[str, str]
FileRecord = tuple[list[int | str], list[str]]
"""Size and time of a file, or its address, and the names of its images."""


class ImageRows(NamedTuple):
    """An image's row, the rows of its nuclei, and its lines of the competition's CSV."""

    row: Row
    nuclei: list[Row]
    runs: list[str]


class CsvTables:
    """The rows of all images of an output folder, as CSV.

    Args:
        output: the folder; tables that an earlier run has left there are read.
        files: each file by name; rows of other files are dropped.
        settings: all that the results depend on but the files; other ones make every image anew.
        again: whether to make every image anew.
        header: first line of the competition's CSV.

    Attributes:
        waiting: the files that an earlier run has not done, by name.
        n_before: number of those that it has done.
    """

    def __init__(
        self,
        output: Path,
        files: Mapping[str, File],
        settings: Mapping[str, object],
        again: bool,
        header: str,
    ) -> None:
        self._output, self._header = output, header
        self._settings = json.loads(json.dumps(settings, default=str))
        self._images: dict[str, ImageRows] = {}
        self._files: dict[str, FileRecord] = {}
        self._new = Report()
        if not again:
            try:
                self._read(files)
            except (OSError, ValueError, KeyError, TypeError):  # none there, or damaged: everything anew
                self._files = {}
        self.waiting = {name: file for name, file in files.items() if name not in self._files}
        self.n_before = len(files) - len(self.waiting)

    def _read(self, files: Mapping[str, File]) -> None:
        """Read the rows of files that an earlier run with the same settings has done, unchanged."""
        record = read_json(self._output / RECORD)
        if record["settings"] != self._settings or record["tables"] != self._digests():
            return
        images = {row["image"]: row for row in _read_csv(self._output / TABLE)}
        nuclei, runs = defaultdict(list), defaultdict(list)
        for row in _read_csv(self._output / NUCLEI):
            nuclei[row["image"]].append(row)
        for line in (self._output / RUNS).read_text().splitlines()[1:]:
            runs[line.partition(",")[0]].append(line)
        for name, (stamp, pages) in record["files"].items():
            if (
                name in files
                and stamp == file_stamp(files[name])
                and are_saved(self._output, pages, self._settings["save"])
            ):
                self._files[name] = (stamp, pages)
                for page in pages:
                    self._images[page] = ImageRows(images[page], nuclei[page], runs[page])

    def fill(self, results: Iterable[Result]) -> None:
        """Take in what comes of each waiting file; print warnings, each note once, and errors."""
        printed: set[str] = set()
        tracked = track(results, "predict", len(self.waiting))
        for (name, file), result in zip(self.waiting.items(), tracked, strict=True):
            if isinstance(result, UserError):
                if line := self._new.add_error(result):
                    print(f"skipped: {line}", file=sys.stderr)
                continue
            self._add(name, file, result)
            for image in result:
                for warning in image.warnings:
                    print(f"warning: {image.name}: {warning}", file=sys.stderr)
                for note in image.notes:
                    if note not in printed:
                        printed.add(note)
                        print(f"{image.name}: {note}", file=sys.stderr)

    def _add(self, name: str, file: File, images: Sequence[SegmentedImage]) -> None:
        rows = {}
        for image in images:
            row = image.row(file) | {"seconds": round(image.seconds, 2)}
            rows[image.name] = ImageRows(
                {name: _text(value) for name, value in row.items()},
                [{"image": image.name, **row} for row in _texts(image.table)],
                image.runs.decode().splitlines(),
            )
        self._images.update(rows)  # at once: Ctrl-C finds all rows of an image or none
        self._files[name] = (file_stamp(file), [*rows])

    def report(self, refused: Sequence[str]) -> Report:
        """Return the report on all images, and on ``refused`` files."""
        rows = [image.row for image in self._images.values()]
        n_nuclei, kinds = sum(int(row["nuclei"]) for row in rows), Counter(row["modality"] for row in rows)
        skipped = [*refused, *self._new.skipped]
        return Report(len(rows), n_nuclei, kinds, skipped=skipped, joined=self._new.joined)

    def stop(self) -> str:
        """Write the tables so far, and return how much they have."""
        self.finish()
        return f"{len(self._images)} images"

    def finish(self) -> None:
        """Write all tables."""
        images = self._images.values()
        nuclei = [row for image in images for row in image.nuclei]
        _write_csv(self._output / TABLE, [image.row for image in images], ("image", "path", "nuclei"))
        _write_csv(self._output / NUCLEI, nuclei, ("image", "label", "area", "y", "x", "mean_intensity"))
        with atomic_write(self._output / RUNS) as part:
            lines = [self._header, *(line for image in images for line in image.runs)]
            part.write_text("\n".join(lines) + "\n")
        record = {"settings": self._settings, "tables": self._digests(), "files": self._files}
        write_json(self._output / RECORD, record)

    def _digests(self) -> dict[str, str]:
        """Return the hash of each table as it is on the disk."""
        return {name: hashlib.sha256((self._output / name).read_bytes()).hexdigest() for name in TABLES}


def _text(value: str | float | None) -> str:
    """Return a value of an image's row as text."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _texts(table: Columns) -> list[Row]:
    """Return the rows of a table as text."""
    columns = {name: [value_text(name, value) for value in v.tolist()] for name, v in table.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _read_csv(path: Path) -> list[Row]:
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def _write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write rows, columns of all of them; ``columns`` come first, and are there without rows too."""
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
        f.write(",".join(n if n.isidentifier() else _field("image", n) for n in names) + "\n")
        f.writelines(",".join(_field(n, row.get(n, "")) for n in names) + "\n" for row in rows)


def _field(column: str, value: str) -> str:
    quoted = value.replace('"', '""')
    return f'"{quoted}"' if column in TEXT else value


def check_input(output: Path, source: str) -> None:
    """Refuse to replace the results of another input.

    Raises:
        UserError: the folder holds some.
    """
    try:
        before = str(read_json(output / RECORD)["settings"]["input"])
    except (OSError, ValueError, KeyError, TypeError):  # no results yet, or a damaged record
        return
    if before != input_place(source):
        raise UserError(
            f"{output} holds the results of {before}; name another output=, or replace them with again=true"
        )


def input_place(source: str) -> str:
    """Return an address, or the full path, by which another input is known."""
    return source if is_address(source) else os.path.abspath(Path(source).expanduser())
