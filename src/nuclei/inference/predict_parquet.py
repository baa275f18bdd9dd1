"""Segment any number of images into Parquet, here or on Ray: skip parts that are done, report the rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from nuclei.data.image_stores import find_inputs
from nuclei.errors import Terminated, UserError
from nuclei.inference.parquet_parts import (
    IMAGES,
    Part,
    Report,
    read_reports,
    remove_others,
    require_pyarrow,
    split,
    sum_up,
    write_parts,
)
from nuclei.inference.predict_folder import (
    check_call,
    conclude,
    end_now,
    how_to_go_on,
    ignore_signals,
    input_place,
    lacking_sets,
)
from nuclei.inference.predict_ray import Cluster, Job, segment_on_ray
from nuclei.inference.segment_files import PARQUET, FileSettings
from nuclei.inference.segmenter import Segmenter
from nuclei.progress import track


def predict_parquet(
    source: str,
    output: Path,
    load: Callable[[], Segmenter],
    settings: FileSettings,
    workers: int,
    again: bool,
    cluster: Cluster | None = None,
) -> None:
    """Segment images, write tables of them and of their nuclei, and print what was done.

    Args:
        source: a folder, one file, a list of files, or an address in a store.
        output: the folder that takes the results.
        load: returns the model.
        settings: how files are read, and what is written of each image.
        workers: number of files at a time; with a cluster, in each task.
        again: whether parts that are done already are done again.
        cluster: of Ray; None for this process. Both write the same.

    Raises:
        UserError: a package is missing, nothing can be read, or files were skipped.
    """
    start = time.monotonic()
    check_call(output, workers)
    require_pyarrow()
    found = find_inputs(source, output)
    segmenter = load()
    model = segmenter.fingerprint()
    settings = replace(settings, save=tuple(kind for kind in settings.save if kind != PARQUET))
    parts = list(split(found.files, {"model": model, "input": input_place(source), **asdict(settings)}))
    reports = {} if again else read_reports(output, parts, settings.save)
    waiting = [part for part in parts if part.name not in reports]
    n_done = sum(len(part.files) for part in parts if part.name in reports)
    for line in [*found.notes, *(f"skipped: {line}" for line in found.refused)]:
        print(line, file=sys.stderr)
    results: Iterable[tuple[Part, Report]]
    if cluster is None:
        results = write_parts(waiting, segmenter, output, settings, workers)
    else:
        del segmenter  # the workers load their own
        results = segment_on_ray(waiting, Job(load, model, output, settings, workers), cluster)
    try:
        for part, report in track(results, "predict", len(waiting)):
            reports[part.name] = report
            for line in report.skipped:
                print(f"skipped: {line}", file=sys.stderr)
    except (KeyboardInterrupt, Terminated) as e:
        ignore_signals()
        end_now(e, f"stopped; {output} has {len(reports)} of {len(parts)} parts, {how_to_go_on(again)}")
    total = sum_up(reports.values(), found.refused)
    total.skipped += lacking_sets(total.joined, found.files)
    if not total.images:
        raise UserError(f"{total.skipped[0]}; no image could be read")
    remove_others(output, parts)
    if total.warned:
        print(f"{total.warned} images have warnings, in {output / IMAGES}", file=sys.stderr)
    conclude(output, total, n_done, start, settings)
