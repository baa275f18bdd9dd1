"""Images on Ray: the bytes of one process, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.cli import main
from nuclei.errors import UserError
from nuclei.inference.parquet_parts import Part
from nuclei.inference.predict_folder import (
    RETRIES,
    Cluster,
    Job,
    check_resources,
    choose_engine,
    segment_on_ray,
)
from nuclei.inference.segment_files import FileSettings

SRC = Path(__file__).parents[2] / "src"
N_IMAGES = 150


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images, and with what one process made of them in ``local``."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("ray")
    here = tmp_path_factory.mktemp("ray")
    (here / "images").mkdir()
    for n in range(N_IMAGES):
        image = np.zeros((64, 64), np.uint8)
        cv2.circle(image, (14 + n % 30, 30), 8, 180, -1)
        cv2.imwrite(str(here / "images" / f"{n:03}.png"), cv2.GaussianBlur(image, (5, 5), 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SRC))
        patch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a busy machine it takes its time
        assert main(["predict", f"input={here}/images", f"output={here}/local", "save=[parquet]"]) == 0
        yield here


def words(here: Path, output: str, source: str = "images") -> list[str]:
    """Return the command that segments the images on Ray."""
    return [
        *(sys.executable, "-m", "nuclei", "predict", "engine=ray", "workers=1", "save=[]"),
        *(f"input={here / source}", f"output={here / output}"),
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def workers_below(pid: int) -> list[int]:
    """Return the processes of Ray that compute for the driver ``pid``."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        parents[int(path.parent.name)] = int(rest.split()[1])
        names[int(path.parent.name)] = name

    def is_below(process: int) -> bool:
        return process == pid or (process in parents and is_below(parents[process]))

    return [
        process for process, name in names.items() if name.startswith("ray::segment") and is_below(process)
    ]


def is_begun(here: Path, output: str) -> bool:
    """Return whether some parts, but not all, are there."""
    return any((here / output / "parquet/images").glob("part-*.parquet"))


def test_a_killed_worker_costs_nothing(here: Path) -> None:
    with subprocess.Popen(words(here, "worker"), stdout=subprocess.PIPE, text=True) as run:
        wait_for(lambda: is_begun(here, "worker"))
        busy = workers_below(run.pid)
        assert busy
        os.kill(busy[0], signal.SIGKILL)
        said = run.communicate(timeout=300)[0]
    assert run.returncode == 0 and f"in {N_IMAGES} images" in said
    assert files_of(here / "worker") == files_of(here / "local")


def test_the_same_call_goes_on_when_all_was_killed(here: Path) -> None:
    with subprocess.Popen(words(here, "job")) as run:
        wait_for(lambda: is_begun(here, "job"))
        workers = workers_below(run.pid)
        run.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 60)
    done = {path: path.stat().st_mtime_ns for path in (here / "job/parquet/images").glob("part-*.parquet")}
    assert 0 < len(done) < len(list((here / "local/parquet/images").iterdir()))
    said = subprocess.run(words(here, "job"), check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "files done before" in said and f"in {N_IMAGES} images" in said
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert files_of(here / "job") == files_of(here / "local")


def test_a_machine_that_leaves_costs_nothing(here: Path) -> None:
    from ray.cluster_utils import Cluster as Machines

    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = machines.add_node(num_cpus=1)
        command = [*words(here, "machine"), f"ray.address={machines.address}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            wait_for(lambda: is_begun(here, "machine"))
            machines.remove_node(second, allow_graceful=False)
            said = run.communicate(timeout=400)[0]
    finally:
        machines.shutdown()
    assert run.returncode == 0 and f"in {N_IMAGES} images" in said
    assert files_of(here / "machine") == files_of(here / "local")


def test_files_that_are_missing_or_bad_are_named_and_counted(here: Path) -> None:
    (here / "bad.png").write_bytes(b"no image")
    (here / "list.csv").write_text("path\nimages/000.png\ngone.png\nbad.png\nimages/001.png\n")
    run = subprocess.run(words(here, "some", "list.csv"), capture_output=True, text=True)
    assert run.returncode == 2 and "in 2 images" in run.stdout and "Traceback" not in run.stderr
    assert f"skipped: cannot read {here}/gone.png: No such file" in run.stderr
    assert f"skipped: {here}/bad.png is no image" in run.stderr
    assert "error: 2 files were skipped" in run.stderr


def test_a_part_that_kills_its_workers_is_skipped(here: Path) -> None:
    job = Job(os.abort, "none", here / "aborted", FileSettings(()), 1)  # type: ignore[arg-type]
    parts = [Part("one", {"000": here / "images/000.png"})]
    [(part, report)] = segment_on_ray(parts, job, Cluster())
    assert part == parts[0] and not report.images
    reason = f"its worker was killed {RETRIES + 1} times (WorkerCrashedError)"
    assert report.skipped == [f"{here}/images/000.png: {reason}"]


def test_an_error_of_a_task_is_one_line(here: Path) -> None:
    (here / "blocked").mkdir()
    (here / "blocked/parquet").write_text("a file")
    run = subprocess.run(words(here, "blocked"), capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "error: cannot write" in run.stderr


def test_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("local", None, 0) is None
    assert choose_engine("ray", "auto", 1) == Cluster("auto", 1)
    with pytest.raises(UserError, match="engine=spark: expected local or ray"):
        choose_engine("spark", None, 0)
    with pytest.raises(UserError, match="are of engine=ray"):
        choose_engine("local", "auto", 0)
    monkeypatch.setitem(sys.modules, "ray", None)
    job = Job(os.abort, "none", Path("out"), FileSettings(()), 1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"engine=ray needs the package ray; .* -m pip install ray"):
        next(segment_on_ray([], job, Cluster()))


@pytest.mark.parametrize(("cores", "gpus", "setting"), [(3, 0, "workers=3"), (2, 1, r"ray\.num_gpus=1")])
def test_more_than_the_machine_has_is_not_waited_for(cores: int, gpus: int, setting: str) -> None:
    check_resources({"CPU": 2.0}, 2, 0)
    with pytest.raises(UserError, match=f"{setting}: this machine has [02]; give at most as many"):
        check_resources({"CPU": 2.0}, cores, gpus)
