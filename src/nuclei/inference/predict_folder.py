"""Segment a folder: find its files, skip what is done, write the tables, report what was skipped."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from nuclei.atomic import atomic_write, read_json, write_json
from nuclei.data.image_files import TABLE, File, file_stamp
from nuclei.data.image_stores import find_inputs, is_address
from nuclei.data.tiff_reader import PartOfSet
from nuclei.errors import Terminated, UserError
from nuclei.inference.measure import Columns, value_text
from nuclei.inference.parquet_parts import Report
from nuclei.inference.segment_files import ENDINGS, FileSettings, SegmentedImage, segment_files
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


class ResultTables:
    """The rows of all images of an output folder.

    Args:
        output: the folder; tables that an earlier run has left there are read.
        files: each file by name; rows of other files are dropped.
        settings: all that the results depend on but the files; other ones make every image anew.
        again: whether to make every image anew.

    Attributes:
        images: a row of each image, by name.
    """

    def __init__(
        self, output: Path, files: Mapping[str, File], settings: Mapping[str, object], again: bool
    ) -> None:
        self.output = output
        self.settings = json.loads(json.dumps(settings, default=str))
        self.images: dict[str, Row] = {}
        self._nuclei: dict[str, list[Row]] = {}
        self._runs: dict[str, list[str]] = {}
        self._files: dict[str, FileRecord] = {}
        if not again:
            try:
                self._read(files)
            except (OSError, ValueError, KeyError, TypeError):  # none there, or damaged: everything anew
                self._files = {}

    def _read(self, files: Mapping[str, File]) -> None:
        """Read the rows of files that an earlier run with the same settings has done, unchanged."""
        record = read_json(self.output / RECORD)
        if record["settings"] != self.settings or record["tables"] != self._digests():
            return
        images = {row["image"]: row for row in _read_csv(self.output / TABLE)}
        nuclei, runs = defaultdict(list), defaultdict(list)
        for row in _read_csv(self.output / NUCLEI):
            nuclei[row["image"]].append(row)
        for line in (self.output / RUNS).read_text().splitlines()[1:]:
            runs[line.partition(",")[0]].append(line)
        for name, (stamp, pages) in record["files"].items():
            if name in files and stamp == file_stamp(files[name]) and all(map(self._is_there, pages)):
                self._files[name] = (stamp, pages)
                for page in pages:
                    self.images[page] = images[page]
                    self._nuclei[page], self._runs[page] = nuclei[page], runs[page]

    def _is_there(self, name: str) -> bool:
        """Return whether everything that is saved of an image is there."""
        return all((self.output / kind / f"{name}{ENDINGS[kind]}").exists() for kind in self.settings["save"])

    def is_done(self, name: str) -> bool:
        """Return whether the images of a file are in the tables."""
        return name in self._files

    def add(self, name: str, file: File, images: Sequence[SegmentedImage]) -> None:
        """Take in the images of a file."""
        self._files[name] = (file_stamp(file), [image.name for image in images])
        for image in images:
            row = image.row(file) | {"seconds": round(image.seconds, 2)}
            self.images[image.name] = {name: _text(value) for name, value in row.items()}
            self._nuclei[image.name] = [{"image": image.name, **row} for row in _texts(image.table)]
            self._runs[image.name] = image.runs.decode().splitlines()

    def write(self, header: str) -> None:
        """Write all tables; ``header`` is the first line of the competition's CSV."""
        images = list(self.images.values())
        nuclei = [row for name in self.images for row in self._nuclei[name]]
        _write_csv(self.output / TABLE, images, ("image", "path", "nuclei"))
        _write_csv(self.output / NUCLEI, nuclei, ("image", "label", "area", "y", "x", "mean_intensity"))
        with atomic_write(self.output / RUNS) as part:
            lines = [header, *(line for name in self.images for line in self._runs[name])]
            part.write_text("\n".join(lines) + "\n")
        record = {"settings": self.settings, "tables": self._digests(), "files": self._files}
        write_json(self.output / RECORD, record)

    def _digests(self) -> dict[str, str]:
        """Return the hash of each table as it is on the disk."""
        return {name: hashlib.sha256((self.output / name).read_bytes()).hexdigest() for name in TABLES}


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
        f.write(",".join(map(_header, names)) + "\n")
        f.writelines(",".join(_field(n, row.get(n, "")) for n in names) + "\n" for row in rows)


def _header(name: str) -> str:
    return name if name.isidentifier() else _field("image", name)


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
) -> None:
    """Segment the images of a folder, write label maps and tables, and print what was done.

    The tables have what earlier runs with the same settings did; Ctrl-C and SIGTERM write them too.

    Args:
        source: a folder, one file, a list of files, or an address in a store.
        output: the folder that takes the results.
        load: returns the model; called when all else is known to be right.
        settings: how files are read, and what is written.
        workers: number of files at a time.
        again: whether images that are done already are done again.
        header: first line of the competition's CSV.

    Raises:
        UserError: a setting is wrong, the folder holds the results of another input, nothing can be read, or
            files were skipped.
    """
    start = time.monotonic()
    check_call(output, workers)
    if not again:
        check_input(output, source)
    found = find_inputs(source, output)
    segmenter = load()
    depends_on = {
        "model": segmenter.fingerprint(),
        "input": input_place(source),
        **asdict(settings),
    }
    tables = ResultTables(output, found.files, depends_on, again)
    files = {name: file for name, file in found.files.items() if not tables.is_done(name)}
    refused = list(found.refused)
    for line in [*found.notes, *(f"skipped: {line}" for line in refused)]:
        print(line, file=sys.stderr)
    try:
        joined = _segment_all(files, segmenter, output, settings, workers, tables, refused)
    except (KeyboardInterrupt, Terminated) as e:
        ignore_signals()
        tables.write(header)
        end_now(e, f"stopped; {output} has {len(tables.images)} images, {how_to_go_on(again)}")
    refused += lacking_sets(joined, found.files)
    if not tables.images:
        raise UserError(f"{refused[0]}; no image could be read")
    tables.write(header)
    rows = tables.images.values()
    n_nuclei = sum(int(row["nuclei"]) for row in rows)
    kinds = Counter(row["modality"] for row in rows)
    total = Report(len(rows), n_nuclei, kinds, skipped=refused)
    conclude(output, total, len(found.files) - len(files), start, settings)


def lacking_sets(joined: Mapping[str, str], files: Mapping[str, File]) -> list[str]:
    """Print which files are read with another one of their set, and return a line for each that is not.

    Args:
        joined: for each such file the one that it is read with.
        files: of the input, by name.
    """
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


def ignore_signals() -> None:
    """Let Ctrl-C and SIGTERM do nothing more, as the process ends anyway."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def end_now(reason: BaseException, line: str) -> NoReturn:
    """Print a line and end the process, without its threads: what computes in them cannot be stopped."""
    print(line, file=sys.stderr)
    sys.stdout.flush()
    os._exit(130 if isinstance(reason, KeyboardInterrupt) else 143)


def conclude(output: Path, total: Report, n_before: int, start: float, settings: FileSettings) -> None:
    """Print what was done since the time ``start``, and of how many files before.

    Raises:
        UserError: files were skipped.
    """
    print(
        f"wrote {output}: {total.nuclei} nuclei in {total.images} images "
        f"({', '.join(f'{n} {kind}' for kind, n in total.modalities.items())}), "
        + (f"{n_before} files done before, " if n_before else "")
        + f"{len(total.skipped)} files skipped, {time.monotonic() - start:.1f} s"
        + (f"; look at {output}/overlays" if "overlays" in settings.save else "")
    )
    if total.skipped:
        raise UserError(f"{len(total.skipped)} files were skipped, as said above; {output} has the others")


def _segment_all(
    files: Mapping[str, File],
    segmenter: Segmenter,
    output: Path,
    settings: FileSettings,
    workers: int,
    tables: ResultTables,
    refused: list[str],
) -> dict[str, str]:
    """Segment files, fill the tables, and print warnings, each note once, and the error of each bad file.

    Returns:
        For each file that is read with another one of its set that other one; see ``lacking_sets``.
    """
    said: set[str] = set()
    joined: dict[str, str] = {}
    results = segment_files(files, segmenter, output, settings, workers)
    for (name, file), result in zip(files.items(), track(results, "predict", len(files)), strict=True):
        if isinstance(result, PartOfSet):
            joined[str(result.file)] = str(result.first)
            continue
        if isinstance(result, UserError):
            refused.append(str(result))
            print(f"skipped: {' '.join(str(result).split())}", file=sys.stderr)
            continue
        tables.add(name, file, result)
        for image in result:
            _say(image, said)
    return joined


def _say(image: SegmentedImage, said: set[str]) -> None:
    """Print the warnings of an image, and those of its notes that were not printed yet."""
    for warning in image.warnings:
        print(f"warning: {image.name}: {warning}", file=sys.stderr)
    for note in image.notes:
        if note not in said:
            said.add(note)
            print(f"{image.name}: {note}", file=sys.stderr)
