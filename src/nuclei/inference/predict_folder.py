"""Segment a folder, here or on Ray: skip what is done, write tables as CSV or Parquet, report the rest.

A task of Ray takes one part from its files to its tables, with the code that ``engine=local`` runs. Ray
chooses where, and runs a task again, elsewhere if need be, whose worker or machine has left. A pipeline of
Ray Data would send images and maps from process to process through its object store, and cannot name the
files that it writes after what went into them, by which a second call knows what is done.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from nuclei.data.image_files import File
from nuclei.data.image_stores import extra_needed, find_inputs
from nuclei.errors import Terminated, UserError
from nuclei.inference.csv_tables import CsvTables, check_input, input_place
from nuclei.inference.parquet_parts import IMAGES, ParquetTables, Part, Report, require_pyarrow, write_parts
from nuclei.inference.segment_files import PARQUET, FileSettings, segment_files
from nuclei.inference.segmenter import Segmenter

RETRIES = 2
"""How often a part is begun again whose worker was killed."""
OBJECT_STORE = 100 * 2**20
"""Bytes of Ray's store on this machine; only names and counts go through it."""
_segmenters: dict[str, Segmenter] = {}
"""The model of a worker process, by its fingerprint, which the next task finds there."""


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
    job = Job(load, segmenter.fingerprint(), output, settings, workers)
    depends_on = {"model": job.model, "input": input_place(source), **asdict(settings)}
    tables: CsvTables | ParquetTables
    if as_parquet:
        tables = ParquetTables(output, found.files, depends_on, settings.save, again)
    else:
        tables = CsvTables(output, found.files, depends_on, again, header)
    for line in [*found.notes, *(f"skipped: {line}" for line in found.refused)]:
        print(line, file=sys.stderr)
    try:
        if isinstance(tables, CsvTables):
            tables.fill(segment_files(tables.waiting, segmenter, output, settings, workers))
        elif cluster is None:
            tables.fill(write_parts(tables.waiting, segmenter, output, settings, workers))
        else:
            del segmenter  # the workers load their own
            tables.fill(segment_on_ray(tables.waiting, job, cluster))
    except (KeyboardInterrupt, Terminated) as e:
        end_process(e, tables, output, again)
    total = tables.report(found.refused)
    total.skipped += lacking_sets(total.joined, found.files)
    if not total.images:
        raise UserError(f"{total.skipped[0]}; no image could be read")
    tables.finish()
    print_total(total, tables.n_before, output, settings.save, time.monotonic() - start)
    if total.skipped:
        raise UserError(f"{len(total.skipped)} files were skipped, as said above; {output} has the others")


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


def end_process(
    interruption: BaseException, tables: CsvTables | ParquetTables, output: Path, again: bool
) -> NoReturn:
    """Keep what is done, say how to go on, and end without the threads: what computes cannot be stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(f"stopped; {output} has {tables.stop()}, {how_to_go_on(again)}", file=sys.stderr)
    sys.stdout.flush()
    os._exit(130 if isinstance(interruption, KeyboardInterrupt) else 143)


def how_to_go_on(again: bool) -> str:
    """Return the advice to a call that was stopped."""
    return f"the same call{' without again=true' if again else ''} goes on"


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


def print_total(total: Report, n_before: int, output: Path, save: Sequence[str], seconds: float) -> None:
    """Print what was done, and where to look at it."""
    if total.warned:
        print(f"{total.warned} images have warnings, in {output / IMAGES}", file=sys.stderr)
    kinds = ", ".join(f"{n} {kind}" for kind, n in total.modalities.items())
    print(
        f"wrote {output}: {total.nuclei} nuclei in {total.images} images ({kinds}), "
        + (f"{n_before} files done before, " if n_before else "")
        + f"{len(total.skipped)} files skipped, {seconds:.1f} s"
        + (f"; look at {output}/overlays" if "overlays" in save else "")
    )


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs, and what a task takes.

    Attributes:
        address: of a cluster, or ``auto``; None starts Ray on this machine.
        num_gpus: of a task; 0 for none.
    """

    address: str | None = None
    num_gpus: float = 0


def choose_engine(engine: str, address: str | None, num_gpus: float) -> Cluster | None:
    """Return the cluster that ``engine=ray`` means; None for ``engine=local``, which is this process.

    Raises:
        UserError: there is no such engine, or the local one was given an address or GPUs.
    """
    if engine == "ray":
        return Cluster(address, num_gpus)
    if engine != "local":
        raise UserError(f"engine={engine}: expected local or ray")
    if address is not None or num_gpus:
        raise UserError("ray.address and ray.num_gpus are of engine=ray; add it")
    return None


@dataclass(frozen=True)
class Job:
    """What all tasks have in common.

    Attributes:
        load: returns the model; it is sent to the workers.
        model: the model's fingerprint.
        output: folder that all machines see.
        settings: how files are read, and what is written.
        workers: number of files at a time in a task, and of cores that it takes.
    """

    load: Callable[[], Segmenter]
    model: str
    output: Path
    settings: FileSettings
    workers: int

    def segment(self, part: Part) -> Report:
        """Segment the files of a part in a worker of Ray."""
        if self.model not in _segmenters:
            _segmenters[self.model] = self.load()
        segmenter, cores = _segmenters[self.model], self.workers
        [(_, report)] = write_parts([part], segmenter, self.output, self.settings, self.workers, cores)
        return report


def segment_on_ray(parts: Sequence[Part], job: Job, cluster: Cluster) -> Iterator[tuple[Part, Report]]:
    """Yield each part and a report on it as soon as it is done; no more tasks wait than cores could take.

    A part whose workers were all killed has its files skipped.

    Raises:
        UserError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as e:
        raise extra_needed("engine=ray", e) from e
    # Of Ray on this machine; a cluster has settings of its own.
    here = {} if cluster.address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR", **here)
    try:
        if cluster.address is None:  # a cluster may grow
            check_resources(ray.cluster_resources(), job.workers, cluster.num_gpus)
        task = ray.remote(num_cpus=job.workers, num_gpus=cluster.num_gpus, max_retries=RETRIES)(Job.segment)
        shared = ray.put(job)
        waiting: dict[Any, Part] = {}
        for part in parts:
            if len(waiting) > 2 * ray.cluster_resources().get("CPU", 1):
                yield _next_report(waiting)
            waiting[task.remote(shared, part)] = part
        while waiting:
            yield _next_report(waiting)
    finally:
        ray.shutdown()


def check_resources(resources: Mapping[str, float], cores: float, gpus: float) -> None:
    """Refuse tasks that would wait for ever for more than this machine has."""
    for setting, wanted, there in (
        ("workers", cores, resources.get("CPU", 0)),
        ("ray.num_gpus", gpus, resources.get("GPU", 0)),
    ):
        if wanted > there:
            raise UserError(f"{setting}={wanted:g}: this machine has {there:g}; give at most as many")


def _next_report(waiting: dict[Any, Part]) -> tuple[Part, Report]:
    """Wait for one of the tasks, take it off, and return its part and report."""
    import ray

    [done], _ = ray.wait([*waiting])
    part = waiting.pop(done)
    try:
        return part, ray.get(done)
    except ray.exceptions.RayTaskError as e:  # such as a disk that is full
        raise e.cause from None
    except ray.exceptions.RayError as e:
        reason = f"its worker was killed {RETRIES + 1} times ({type(e).__name__})"
        return part, Report(skipped=[f"{file}: {reason}" for file in part.files.values()])
