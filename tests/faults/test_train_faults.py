"""What can go wrong while training: no room for a checkpoint, a loader worker that dies."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "run.sh"
TRAIN = [
    str(RUN),
    "data=demo",
    "data.source.n_train=10",
    "data.source.n_test=1",
    "augment.crop=64",
    "batch_size=2",
    "samples_per_epoch=4000",
    "trainer.max_epochs=1",
    "model=unet",  # from scratch, so that nothing is fetched
    "model.network.encoder=mobilenet_v2",
]


def start(cwd: Path, *words: str, limit: int | None = None) -> subprocess.Popen[str]:
    """Start a training; ``limit`` bounds the size of the files it may write, in bytes."""
    room = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    env = os.environ | {"NUCLEI_PYTHON": sys.executable}
    return subprocess.Popen(
        [*TRAIN, *words], cwd=cwd, env=env, text=True, stdout=-1, stderr=subprocess.STDOUT, preexec_fn=room
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a prepared demo set."""
    place = tmp_path_factory.mktemp("faults")
    for command in ("prepare", "folds"):
        env = os.environ | {"NUCLEI_PYTHON": sys.executable}
        subprocess.run([TRAIN[0], command, *TRAIN[1:4]], cwd=place, env=env, check=True, stdout=-1)
    return place


def test_no_room_for_a_checkpoint(place):
    process = start(place, "samples_per_epoch=4", "name=full", limit=2_000_000)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 2, out
    assert "error: cannot write" in out and "Traceback" not in out
    folder = place / "runs/demo/unet/full/fold0"
    assert not list(folder.glob("*.safetensors")) and not (folder / "done.json").exists()


def forks(pid: int) -> list[int]:
    """Children that run the same program: loader workers, not what asks for the processor."""
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if Path(f"/proc/{p}/cmdline").read_bytes() == own]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker through /proc")
def test_a_loader_worker_that_dies_ends_the_run_with_its_reason(place):
    process = start(place, "num_workers=1", "name=orphan")
    next(line for line in process.stdout if "step" in line)
    workers = forks(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 2, out
    assert "DataLoader worker" in out and "num_workers=0" in out and "Traceback" not in out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_is_asked_to_end_says_how_to_go_on(place, number, status):
    process = start(place, "samples_per_epoch=4", "trainer.max_epochs=999", f"name=asked{status}")
    checkpoint, limit = place / f"runs/demo/unet/asked{status}/fold0/last.ckpt", time.monotonic() + 200
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == status, out
    assert out.endswith("stopped; the same command goes on\n") and "Traceback" not in out
    assert [path.name for path in checkpoint.parent.glob("*ckpt*")] == ["last.ckpt"]
