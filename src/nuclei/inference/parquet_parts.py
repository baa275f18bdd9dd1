"""Tables of images and of their nuclei as Parquet, in parts that are complete or not there.

A part has the images of some 64 files. Its name follows from these files and from the settings, so that a
later call knows which parts are done, however the earlier one ended, and the whole has each image once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.atomic import atomic_write
from nuclei.data.image_files import File, file_stamp
from nuclei.data.image_stores import extra_needed
from nuclei.data.tiff_reader import PartOfSet
from nuclei.errors import UserError
from nuclei.inference.measure import LENGTHS, MEASUREMENTS, Columns
from nuclei.inference.segment_files import FileSettings, Result, SegmentedImage, are_saved, segment_files
from nuclei.inference.segmenter import Segmenter
from nuclei.progress import track

if TYPE_CHECKING:
    import pyarrow

IMAGES, NUCLEI = "parquet/images", "parquet/nuclei"
"""Folders of the parts, below the output; a part is done when its table of images is there."""
USUAL_FILES, MOST_FILES, MOST_BYTES = 64, 128, 2**26
"""Number of files of a part on average, and at most; their size at most, where more than one."""
REPORT = b"nuclei.report"
"""Key of the report in a part's schema."""
INTENSITIES = f"{MEASUREMENTS['intensity_mean']}_"
"""What stands before a channel's name in the names of columns."""


@dataclass(frozen=True)
class Part:
    """Files whose images go into one part of the tables, by name."""

    name: str
    files: Mapping[str, File]


@dataclass
class Report:
    """What became of the files of a part, or of all parts.

    Attributes:
        images, nuclei: number of them.
        modalities: number of images of each.
        warned: number of images with warnings.
        skipped: a line for each file that could not be read.
        joined: for each file of a set that is read with another one, that other one.
    """

    images: int = 0
    nuclei: int = 0
    modalities: dict[str, int] = field(default_factory=dict)
    warned: int = 0
    skipped: list[str] = field(default_factory=list)
    joined: dict[str, str] = field(default_factory=dict)

    def add_error(self, error: UserError) -> str | None:
        """Take in why a file has no images of its own, and return the line where it was skipped."""
        if isinstance(error, PartOfSet):
            self.joined[str(error.file)] = str(error.first)
            return None
        self.skipped.append(" ".join(str(error).split()))
        return self.skipped[-1]


class ParquetTables:
    """The parts of the tables of an output folder.

    Args:
        settings: all that the results depend on but the files.
        save: kinds of files beside the tables, of ``ENDINGS``, which must be there too.
        again: whether to make every part anew.

    Attributes:
        waiting: the parts that an earlier run has not done.
        n_before: number of files of those that it has done.
    """

    def __init__(
        self,
        output: Path,
        files: Mapping[str, File],
        settings: Mapping[str, object],
        save: Sequence[str],
        again: bool,
    ) -> None:
        self._output, self._parts = output, list(split(files, settings))
        reports = {} if again else {part.name: _read_report(output, part, save) for part in self._parts}
        # Files that had to be skipped may be good ones by now.
        self._reports = {name: report for name, report in reports.items() if report and not report.skipped}
        self.waiting = [part for part in self._parts if part.name not in self._reports]
        self.n_before = len(files) - sum(len(part.files) for part in self.waiting)

    def fill(self, results: Iterable[tuple[Part, Report]]) -> None:
        """Take in the report on each waiting part, and print errors."""
        for part, report in track(results, "predict", len(self.waiting)):
            self._reports[part.name] = report
            for line in report.skipped:
                print(f"skipped: {line}", file=sys.stderr)

    def report(self, refused: Sequence[str]) -> Report:
        """Return the report on all parts, and on ``refused`` files."""
        total, modalities = Report(skipped=list(refused)), Counter[str]()
        for report in self._reports.values():
            total.images += report.images
            total.nuclei += report.nuclei
            total.warned += report.warned
            total.skipped += report.skipped
            total.joined |= report.joined
            modalities.update(report.modalities)
        total.modalities = dict(modalities)
        return total

    def stop(self) -> str:
        """Return how much the tables have."""
        return f"{len(self._reports)} of {len(self._parts)} parts"

    def finish(self) -> None:
        """Remove parts of other files or settings, which an earlier call has left."""
        kept = {_place(Path(), part).name for part in self._parts}
        for folder in (IMAGES, NUCLEI):  # in this order: without its images a part does not count
            for path in (self._output / folder).glob("part-*.parquet"):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


def split(files: Mapping[str, File], settings: Mapping[str, object]) -> Iterator[Part]:
    """Yield files in parts, whose names follow from the files and from all else that the results depend on.

    Where a part ends depends on the names of its files alone, so that a file which is added changes one part.
    """
    names: list[str] = []
    stamps: list[object] = []
    size = 0
    for name, file in files.items():
        stamp = file_stamp(file)
        n_bytes = stamp[0] if stamp and isinstance(stamp[0], int) else 0
        begins = int(_digest(name)[:8], 16) % USUAL_FILES == 0
        if names and (begins or len(names) == MOST_FILES or size + n_bytes > MOST_BYTES):
            yield Part(_digest([settings, names, stamps]), {n: files[n] for n in names})
            names, stamps, size = [], [], 0
        names.append(name)
        stamps.append(stamp)
        size += n_bytes
    if names:
        yield Part(_digest([settings, names, stamps]), {n: files[n] for n in names})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def write_parts(
    parts: Sequence[Part],
    segmenter: Segmenter,
    output: Path,
    settings: FileSettings,
    workers: int,
    cores: int | None = None,
) -> Iterator[tuple[Part, Report]]:
    """Segment the files of parts, write the tables of each, and yield it with a report.

    Files of the next part are in work while a part is written. See ``segment_files`` for the arguments.
    """
    files = {name: file for part in parts for name, file in part.files.items()}
    results = segment_files(files, segmenter, output, settings, workers, cores)
    for part in parts:
        yield part, _write_part(part, islice(results, len(part.files)), output)


def _write_part(part: Part, results: Iterable[Result], output: Path) -> Report:
    """Write the tables of a part, given what came of each of its files."""
    images: list[tuple[File, SegmentedImage]] = []
    report = Report()
    for file, result in zip(part.files.values(), results, strict=True):
        if isinstance(result, UserError):
            report.add_error(result)
        else:
            images += [(file, image) for image in result]
    report.images = len(images)
    report.nuclei = sum(image.count for _, image in images)
    report.modalities = dict(Counter(image.modality for _, image in images))
    report.warned = sum(bool(image.warnings) for _, image in images)
    _write(output / NUCLEI, part, _nuclei_table([image for _, image in images]))
    described = _image_table(images).replace_schema_metadata({REPORT: json.dumps(asdict(report))})
    _write(output / IMAGES, part, described)
    return report


def _read_report(output: Path, part: Part, save: Sequence[str]) -> Report | None:
    """Return what became of a part; None where it is not there, or damaged, or what was saved is gone."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema, read_table

    try:
        if save:
            names = read_table(_place(output / IMAGES, part), columns=["image"])["image"].to_pylist()
            if not are_saved(output, names, save):
                return None
        report = Report(**json.loads(read_schema(_place(output / IMAGES, part)).metadata[REPORT]))
        read_schema(_place(output / NUCLEI, part))
        return report
    except (OSError, ArrowException, KeyError, TypeError, ValueError):
        return None


def require_pyarrow() -> None:
    """Check that Parquet can be written.

    Raises:
        UserError: the package is missing.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as e:
        raise extra_needed("Parquet", e) from e


def _place(folder: Path, part: Part) -> Path:
    return folder / f"part-{part.name}.parquet"


def _write(folder: Path, part: Part, table: pyarrow.Table) -> None:
    from pyarrow.parquet import write_table

    with atomic_write(_place(folder, part)) as path:
        write_table(table, path, compression="zstd")


def _image_table(images: Sequence[tuple[File, SegmentedImage]]) -> pyarrow.Table:
    """Return a row for each image."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int32(), pa.float64()
    columns = {"image": text, "path": text, "height": whole, "width": whole, "pixel_size_um": real}
    columns |= {"modality": text, "zoom": real, "nuclei": whole, "chosen": text, "warnings": text}
    return pa.Table.from_pylist([image.row(file) for file, image in images], pa.schema(columns))


def _nuclei_table(images: Sequence[SegmentedImage]) -> pyarrow.Table:
    """Return a row for each nucleus; parts have the same columns, whatever their images are."""
    import pyarrow as pa

    columns = {"image": pa.string(), "runs": pa.string(), "class": pa.string()}
    columns |= {name: pa.int32() if name == "label" else pa.float64() for name in MEASUREMENTS.values()}
    columns |= {name: pa.float64() for name in ("area_um2", *(f"{length}_um" for length in LENGTHS))}
    columns |= {"mean_intensities": pa.map_(pa.string(), pa.float64())}
    schema = pa.schema(columns)
    batches = [_nuclei_rows(image, schema) for image in images if image.count]
    return pa.Table.from_batches(batches, schema).combine_chunks()


def _nuclei_rows(image: SegmentedImage, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import pyarrow as pa

    columns: Mapping[str, Sequence[object]] = {
        "image": [image.name] * image.count,
        "runs": [line.partition(",")[2] for line in image.runs.decode().splitlines()],
        "mean_intensities": _by_channel(image.table, image.count),
    }
    values = [columns.get(name, image.table.get(name, [None] * image.count)) for name in schema.names]
    arrays = [pa.array(v, t, from_pandas=True) for v, t in zip(values, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _by_channel(table: Columns, count: int) -> list[list[tuple[str, float]]]:
    """Return the mean intensity of each nucleus in each of several channels."""
    channels = {
        name.removeprefix(INTENSITIES): values.tolist()
        for name, values in table.items()
        if name.startswith(INTENSITIES)
    }
    return [[(channel, values[n]) for channel, values in channels.items()] for n in range(count)]
