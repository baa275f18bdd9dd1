"""Segment a folder, here or on Ray: skip what is done, write tables as CSV or Parquet, report the rest."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from nuclei.atomic import atomic_write, read_json, write_json
from nuclei.data.image_files import TABLE, File, file_stamp
from nuclei.data.image_stores import find_inputs, is_address
from nuclei.errors import Terminated, UserError
from nuclei.inference.measure import Columns, value_text
from nuclei.inference.parquet_parts import IMAGES, ParquetTables, Report, require_pyarrow, write_parts
from nuclei.inference.predict_ray import Cluster, Job, segment_on_ray
from nuclei.inference.segment_files import (
    PARQUET,
    FileSettings,
    Result,
    SegmentedImage,
    are_saved,
    segment_files,
)
from nuclei.inference.segmenter import Segmenter
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


class TextTables:
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


def predict_folder(
    source: str,
    output: Path,
    load: Callable[[], Segmenter],
    settings: FileSettings,
    workers: int,
    again: bool,
    header: str,
    cluster: Cluster | None = None,
) -> None:
    """Segment images, write what is to be saved of each and tables of all, and print what was done.

    The tables have what earlier runs with the same settings did; Ctrl-C and SIGTERM write them too. They are
    Parquet where ``settings.save`` says so, and on a cluster.

    Args:
        source: a folder, one file, a list of files, or an address in a store.
        output: the folder that takes the results.
        load: returns the model; called when all else is known to be right.
        settings: how files are read, and what is written.
        workers: number of files at a time; with a cluster, in each task.
        again: whether images that are done already are done again.
        header: first line of the competition's CSV.
        cluster: of Ray; None for this process.

    Raises:
        UserError: a setting is wrong, a package is missing, the folder holds the results of another input,
            nothing can be read, or files were skipped.
    """
    start = time.monotonic()
    check_call(output, workers)
    as_parquet = cluster is not None or PARQUET in settings.save
    if as_parquet:
        require_pyarrow()
        settings = replace(settings, save=tuple(kind for kind in settings.save if kind != PARQUET))
    elif not again:
        check_input(output, source)
    found = find_inputs(source, output)
    segmenter = load()
    model = segmenter.fingerprint()
    depends_on = {"model": model, "input": input_place(source), **asdict(settings)}
    tables: TextTables | ParquetTables
    if as_parquet:
        tables = ParquetTables(output, found.files, depends_on, settings.save, again)
    else:
        tables = TextTables(output, found.files, depends_on, again, header)
    for line in [*found.notes, *(f"skipped: {line}" for line in found.refused)]:
        print(line, file=sys.stderr)
    try:
        if isinstance(tables, TextTables):
            tables.fill(segment_files(tables.waiting, segmenter, output, settings, workers))
        elif cluster is None:
            tables.fill(write_parts(tables.waiting, segmenter, output, settings, workers))
        else:
            del segmenter  # the workers load their own
            job = Job(load, model, output, settings, workers)
            tables.fill(segment_on_ray(tables.waiting, job, cluster))
    except (KeyboardInterrupt, Terminated) as e:
        # The process ends anyway, without its threads: what computes in them cannot be stopped.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(f"stopped; {output} has {tables.stop()}, {how_to_go_on(again)}", file=sys.stderr)
        sys.stdout.flush()
        os._exit(130 if isinstance(e, KeyboardInterrupt) else 143)
    total = tables.report(found.refused)
    total.skipped += lacking_sets(total.joined, found.files)
    if not total.images:
        raise UserError(f"{total.skipped[0]}; no image could be read")
    tables.finish()
    if total.warned:
        print(f"{total.warned} images have warnings, in {output / IMAGES}", file=sys.stderr)
    kinds = ", ".join(f"{n} {kind}" for kind, n in total.modalities.items())
    print(
        f"wrote {output}: {total.nuclei} nuclei in {total.images} images ({kinds}), "
        + (f"{tables.n_before} files done before, " if tables.n_before else "")
        + f"{len(total.skipped)} files skipped, {time.monotonic() - start:.1f} s"
        + (f"; look at {output}/overlays" if "overlays" in settings.save else "")
    )
    if total.skipped:
        raise UserError(f"{len(total.skipped)} files were skipped, as said above; {output} has the others")


def lacking_sets(joined: Mapping[str, str], files: Mapping[str, File]) -> list[str]:
    """Print which files of a set are read with its first one; return a line for each that lacks its first."""
    inputs = {os.path.realpath(file) for file in files.values() if isinstance(file, Path)}
    lacking = []
    for file, first in joined.items():
        if os.path.realpath(first) in inputs:
            print(f"{file} is read with {Path(first).name}, which is of the same set", file=sys.stderr)
        else:
            lacking.append(f"{file} is of a set that begins with {first}; add that file to the input")
            print(f"skipped: {lacking[-1]}", file=sys.stderr)
    return lacking


def how_to_go_on(again: bool) -> str:
    """Return the advice to a call that was stopped."""
    return f"the same call{' without again=true' if again else ''} goes on"


def check_call(output: Path, workers: int) -> None:
    """Check where results go, and how many files are read at a time.

    Raises:
        UserError: the output is a file or lies in a store, or the number is not positive.
    """
    if workers < 1:
        raise UserError(f"workers={workers}: expected 1 or more files at a time")
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file; name a folder")
    if output.parts and output.parts[0].endswith(":") and not output.drive:
        raise UserError(f"output={output}: expected a folder that this machine sees, not an address")


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
