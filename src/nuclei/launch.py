"""Run the runs of a sweep side by side: on this machine's cores, on Slurm, on Ray.

Each run is the same command in a process of its own, so that one that is killed takes no other along. What
chooses where and when it starts is joblib, submitit or Ray; see ``configs/hydra/launcher``.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nuclei.config import Call
from nuclei.errors import UserError
from nuclei.paths import PARENT


@dataclass(frozen=True)
class Launched:
    """One run of a sweep. Called, it runs and returns its exit status; it may be sent to another machine.

    Attributes:
        log: takes what the run says, behind what it said before.
        folder: in which it runs.
    """

    call: Call
    log: Path
    folder: Path = field(default_factory=Path.cwd)
    python: str = sys.executable

    def __call__(self) -> int:
        """Run; where Slurm starts several processes of one run, each has a log of its own."""
        number = int(os.environ.get("SLURM_PROCID", "0"))
        path = self.folder / (self.log.with_suffix(f".{number}.log") if number else self.log)
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [self.python, "-m", "nuclei", self.call.command, *self.call.overrides]
        environment = os.environ | {PARENT: str(os.getpid())}  # with whose end it ends, however that ends
        with open(path, "ab") as log:
            return subprocess.run(words, stdout=log, stderr=log, cwd=self.folder, env=environment).returncode

    def checkpoint(self) -> Any:
        """Say what submitit starts again when the time is over: the same command, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    @property
    def last_line(self) -> str:
        """The last line that the run said."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return lines[-1] if lines else "it said nothing"


Ended = tuple[Launched, int | str]
"""A run that has ended, and its exit status, or why it has none."""


def launch(calls: Sequence[Call], start: Callable[[Sequence[Launched]], Iterable[Ended]], logs: Path) -> None:
    """Run calls side by side, and say of each how it ended; ``start`` yields each run when it has.

    Raises:
        UserError: some failed; the message names them, their last words and their logs. Or no log can be
            written.
    """
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"cannot write {logs}: {e.strerror}; choose paths.runs=FOLDER") from e
    print(f"{len(calls)} runs; what they say is in {logs}", flush=True)
    failed = []
    try:
        for run, status in start([Launched(call, logs / log_name(call)) for call in calls]):
            said = run.last_line if isinstance(status, int) else status
            print(f"{'failed' if status else 'done'}: {run.call.text}: {said}", flush=True)
            if status:
                failed.append(f"{run.call.text} ({said.removeprefix('error: ')}; log: {run.log})")
    except ModuleNotFoundError as e:
        raise UserError(
            f"this launcher needs the package {e.name}; {sys.executable} -m pip install "
            "-r requirements-cluster.txt, or pip install '.[cluster]' in a checkout"
        ) from e
    if failed:
        raise UserError(f"{len(failed)} of {len(calls)} runs failed: {'; '.join(failed)}")


def log_name(call: Call) -> str:
    """Return the name of a call's log; calls that differ have different ones.

    >>> log_name(Call("train", ("fold=0", "model=unet")))
    'train_fold=0_model=unet_83e7b9f7.log'
    """
    words = re.sub(r"[^\w=.+-]+", "_", "_".join((call.command, *call.overrides)))
    return f"{words[:120]}_{hashlib.sha256(call.text.encode()).hexdigest()[:8]}.log"


def with_joblib(runs: Sequence[Launched], n_jobs: int) -> Iterator[Ended]:
    """Run on this machine, ``n_jobs`` at a time, -1 for one on each core; they share its cores.

    Raises:
        UserError: it is another number.
    """
    if not isinstance(n_jobs, int) or (n_jobs < 1 and n_jobs != -1):
        raise UserError(f"hydra.launcher.n_jobs={n_jobs}: expected 1 or more, or -1 for all cores")
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs, batch_size=1, return_as="generator_unordered")(
        delayed(_ended)(run) for run in runs
    )


def _ended(run: Launched) -> Ended:
    return run, run()


def with_submitit(runs: Sequence[Launched], cluster: str, **parameters: Any) -> Iterator[Ended]:
    """Run as jobs of Slurm, or as processes that are started in the same way on this machine.

    Args:
        cluster: ``slurm`` or ``local``.
        **parameters: submitit's, those of Slurm without their prefix; None is left out.

    Raises:
        UserError: there is no Slurm here, or it refused the jobs.
    """
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError

    shared = {"timeout_min", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb"}
    given = {
        name if name in shared else f"slurm_{name}": value
        for name, value in parameters.items()
        if value is not None
    }
    made = {name: given.pop(name) for name in ("slurm_max_num_timeout",) if name in given}
    try:
        executor = AutoExecutor(runs[0].log.parent / "submitit", cluster, **made)
        executor.update_parameters(name="nuclei", **given)
        with executor.batch():
            jobs = [executor.submit(run) for run in runs]
    except (FailedJobError, NameError, RuntimeError) as e:  # NameError: of an unknown parameter
        raise UserError(f"{cluster} took no job: {e}") from e
    for run, job in zip(runs, jobs, strict=True):
        try:
            status: int | str = max(job.results(), key=abs)  # of a killed process it is below 0
        except Exception as e:  # a job that was cancelled, or whose machine left, has no result
            status = f"{type(e).__name__}: {str(e).splitlines()[0]}"
        yield run, status


def with_ray(
    runs: Sequence[Launched], address: str | None, num_cpus: float, num_gpus: float
) -> Iterator[Ended]:
    """Run as tasks of Ray, each with its share of cores and GPUs; no address starts Ray on this machine."""
    import ray

    ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
    try:
        task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(Launched.__call__)
        waiting = {task.remote(run): run for run in runs}
        while waiting:
            [done], _ = ray.wait([*waiting])
            run = waiting.pop(done)
            try:
                status: int | str = ray.get(done)
            except ray.exceptions.RayError as e:  # its machine left, and three more
                status = f"{type(e).__name__}: {str(e).splitlines()[0]}"
            yield run, status
    finally:
        ray.shutdown()
