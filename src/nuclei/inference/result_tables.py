"""The tables of a prediction: images, nuclei and run lengths, which a second run goes on with."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from nuclei.atomic import atomic_write
from nuclei.data.image_files import TABLE
from nuclei.inference.segment_files import ENDINGS, SegmentedImage

RECORD = "predict.json"
"""What the results of an earlier run depend on."""
TEXT = ("image", "path", "modality", "chosen", "warnings")
"""Columns that are put in quotes, as some programs take names such as NA or 001 for something else."""
Row = dict[str, str]
FileRecord = tuple[list[int], list[str]]
"""Size and time of a file, and the names of its images."""


class ResultTables:
    """The rows of all images of an output folder.

    Args:
        output: the folder; tables that an earlier run has left there are read.
        files: path of each file by name; rows of other files are dropped.
        settings: all that the results depend on but the files; other ones make every image anew.
        again: whether to make every image anew.

    Attributes:
        images: a row of each image, by name.
    """

    def __init__(
        self, output: Path, files: Mapping[str, Path], settings: Mapping[str, object], again: bool
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

    def _read(self, files: Mapping[str, Path]) -> None:
        """Read the rows of files that an earlier run with the same settings has done, unchanged."""
        record = json.loads((self.output / RECORD).read_text())
        if record["settings"] != self.settings:
            return
        images = {row["image"]: row for row in _read_csv(self.output / TABLE)}
        nuclei, runs = defaultdict(list), defaultdict(list)
        for row in _read_csv(self.output / "nuclei.csv"):
            nuclei[row["image"]].append(row)
        for line in (self.output / "submission.csv").read_text().splitlines()[1:]:
            runs[line.partition(",")[0]].append(line)
        for name, (stamp, pages) in record["files"].items():
            if name in files and stamp == _stamp(files[name]) and all(map(self._is_there, pages)):
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

    def add(self, name: str, file: Path, images: Sequence[SegmentedImage]) -> None:
        """Take in the images of a file."""
        self._files[name] = (_stamp(file), [image.name for image in images])
        for image in images:
            self.images[image.name] = {
                "image": image.name,
                "path": os.fsencode(file).decode(errors="replace"),
                "height": str(image.size[0]),
                "width": str(image.size[1]),
                "pixel_size_um": "" if image.pixel_size is None else f"{image.pixel_size:g}",
                "modality": image.modality,
                "zoom": f"{image.zoom:.2f}",
                "nuclei": str(image.count),
                "chosen": "; ".join(image.notes),
                "warnings": "; ".join(image.warnings),
                "seconds": f"{image.seconds:.2f}",
            }
            self._nuclei[image.name] = [{"image": image.name, **row} for row in _texts(image.table)]
            self._runs[image.name] = image.runs.decode().splitlines()

    def write(self, header: str) -> None:
        """Write all tables; ``header`` is the first line of the competition's CSV."""
        images = list(self.images.values())
        nuclei = [row for name in self.images for row in self._nuclei[name]]
        _write_csv(self.output / TABLE, images, ("image", "path", "nuclei"))
        _write_csv(self.output / "nuclei.csv", nuclei, ("image", "label", "area", "y", "x", "mean_intensity"))
        with atomic_write(self.output / "submission.csv") as part:
            lines = [header, *(line for name in self.images for line in self._runs[name])]
            part.write_text("\n".join(lines) + "\n")
        with atomic_write(self.output / RECORD) as part:
            part.write_text(json.dumps({"settings": self.settings, "files": self._files}))


def _stamp(file: Path) -> list[int]:
    """Return size and time of a file, by which a changed one is known."""
    try:
        stat = file.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def _texts(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table as text: whole numbers bare, others with three digits, no NaN."""
    columns = {
        str(name): [
            str(v) if isinstance(v, int) else "" if math.isnan(v) else f"{v:.3f}" for v in values.tolist()
        ]
        for name, values in table.items()
    }
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
