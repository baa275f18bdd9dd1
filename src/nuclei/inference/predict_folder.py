"""Segment a folder: find its files, skip what is done, write the tables, report what was skipped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from nuclei.data.image_files import find_images
from nuclei.errors import UserError
from nuclei.inference.result_tables import ResultTables
from nuclei.inference.segment_files import FileSettings, SegmentedImage, segment_files
from nuclei.inference.segmenter import Segmenter
from nuclei.progress import track


def predict_folder(
    source: Path,
    output: Path,
    load: Callable[[], Segmenter],
    settings: FileSettings,
    workers: int,
    again: bool,
    header: str,
) -> None:
    """Segment the images of a folder, write label maps and tables, and print what was done.

    The tables have what earlier runs with the same settings did, and are written after Ctrl-C too.

    Args:
        source: a folder, or one file.
        output: the folder that takes the results.
        load: returns the model; called when all else is known to be right.
        settings: how files are read, and what is written.
        workers: number of files at a time.
        again: whether images that are done already are done again.
        header: first line of the competition's CSV.

    Raises:
        UserError: a setting is wrong, nothing can be read, or files were skipped.
    """
    start = time.monotonic()
    if workers < 1:
        raise UserError(f"workers={workers}: expected 1 or more files at a time")
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file; name a folder")
    found = find_images(source, output)
    segmenter = load()
    depends_on = {"model": segmenter.fingerprint(), "input": os.path.abspath(source), **asdict(settings)}
    tables = ResultTables(output, found.files, depends_on, again)
    files = {name: file for name, file in found.files.items() if not tables.is_done(name)}
    refused = list(found.refused)
    for line in [*found.notes, *(f"skipped: {line}" for line in refused)]:
        print(line, file=sys.stderr)
    try:
        _segment_all(files, segmenter, output, settings, workers, tables, refused)
    except KeyboardInterrupt:
        # Threads that compute cannot be stopped, so the process ends without them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tables.write(header)
        print(f"stopped; {output} has {len(tables.images)} images, the same call goes on", file=sys.stderr)
        sys.stdout.flush()
        os._exit(130)
    if not tables.images:
        raise UserError(f"{refused[0]}; no image could be read")
    tables.write(header)
    kinds = Counter(row["modality"] for row in tables.images.values())
    done = len(found.files) - len(files)
    print(
        f"wrote {output}: {sum(int(row['nuclei']) for row in tables.images.values())} nuclei in "
        f"{len(tables.images)} images ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
        + (f"{done} files done before, " if done else "")
        + f"{len(refused)} files skipped, {time.monotonic() - start:.1f} s"
        + (f"; look at {output}/overlays" if "overlays" in settings.save else "")
    )
    if refused:
        raise UserError(f"{len(refused)} files were skipped, as said above; {output} has the others")


def _segment_all(
    files: Mapping[str, Path],
    segmenter: Segmenter,
    output: Path,
    settings: FileSettings,
    workers: int,
    tables: ResultTables,
    refused: list[str],
) -> None:
    """Segment files, fill the tables, and print warnings, each note once, and the error of each bad file."""
    said: set[str] = set()
    results = segment_files(files, segmenter, output, settings, workers)
    for (name, file), result in zip(files.items(), track(results, "predict", len(files)), strict=True):
        if isinstance(result, UserError):
            refused.append(str(result))
            print(f"skipped: {' '.join(str(result).split())}", file=sys.stderr)
            continue
        tables.add(name, file, result)
        for image in result:
            _say(image, said)


def _say(image: SegmentedImage, said: set[str]) -> None:
    """Print the warnings of an image, and those of its notes that were not printed yet."""
    for warning in image.warnings:
        print(f"warning: {image.name}: {warning}", file=sys.stderr)
    for note in image.notes:
        if note not in said:
            said.add(note)
            print(f"{image.name}: {note}", file=sys.stderr)
