"""Segment the parts of a large folder on the machines of a Ray cluster, or on all cores of this one.

A task of Ray takes one part from its files to its tables, with the code that ``engine=local`` runs. Ray
chooses where, and runs a task again, elsewhere if need be, whose worker or machine has left. A pipeline of
Ray Data would send images and maps from process to process through its object store, and cannot name the
files that it writes after what went into them, by which a second call knows what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuclei.data.image_stores import extra_needed
from nuclei.errors import UserError
from nuclei.inference.parquet_parts import Part, Report, write_parts
from nuclei.inference.segment_files import FileSettings
from nuclei.inference.segmenter import Segmenter

RETRIES = 2
"""How often a part is begun again whose worker was killed."""
OBJECT_STORE = 100 * 2**20
"""Bytes of Ray's store on this machine; only names and counts go through it."""
_segmenters: dict[str, Segmenter] = {}
"""The model of a worker process, by its fingerprint, which the next task finds there."""


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
