"""Runs side by side: each in a process of its own, and what is said of those that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from nuclei.cli import main
from nuclei.config import Call, compose_launcher
from nuclei.errors import UserError
from nuclei.launch import Launched, launch, with_joblib, with_ray, with_submitit

SRC = Path(__file__).parents[1] / "src"
GOOD, BAD = Call("ledger", ("paths.submissions=a",)), Call("validate", ("submission=missing.csv",))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in; processes find the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a busy machine it takes its time
    return tmp_path


def launchers() -> list[object]:
    """What starts runs on this machine; Slurm's jobs take the same road as the local ones."""
    return [
        pytest.param(partial(with_joblib, n_jobs=2), id="joblib"),
        pytest.param(partial(with_submitit, cluster="local", timeout_min=5, qos=None), id="submitit"),
        pytest.param(partial(with_ray, address=None, num_cpus=0.5, num_gpus=0), id="ray"),
    ]


@pytest.mark.parametrize("start", launchers())
def test_a_run_that_fails_takes_no_other_along(
    start: partial, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip({with_submitit: "submitit", with_ray: "ray"}.get(start.func, "joblib"))
    with pytest.raises(UserError) as e:
        launch([BAD, GOOD], start, Path("logs"))
    [log] = (here / "logs").glob("validate_*.log")
    assert str(e.value).startswith(f"1 of 2 runs failed: {BAD.text} (")
    assert "missing.csv" in str(e.value) and f"log: {log.relative_to(here)})" in str(e.value)
    assert f"done: {GOOD.text}: " in capsys.readouterr().out
    assert "\nerror: " in log.read_text()


def test_a_folder_in_which_no_log_can_be_written_is_named(here: Path) -> None:
    (here / "file").touch()
    with pytest.raises(UserError, match=r"cannot write file/logs: Not a directory; choose paths\.runs="):
        launch([GOOD], partial(with_joblib, n_jobs=1), Path("file/logs"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_run_ends_with_the_process_that_started_it(here: Path) -> None:
    code = "from pathlib import Path; from nuclei.config import Call; from nuclei.launch import Launched\n"
    code += "Launched(Call('app', ()), Path('logs/app.log'))()"
    log, limit = here / "logs/app.log", time.monotonic() + 120
    with subprocess.Popen([sys.executable, "-c", code]) as starter:
        while not (log.is_file() and "the page is at" in log.read_text()) and time.monotonic() < limit:
            time.sleep(0.2)
        starter.kill()
    while "stopped" not in log.read_text() and time.monotonic() < limit:
        time.sleep(0.2)
    assert log.read_text().endswith("stopped; the same command goes on\n")


def test_a_run_that_is_killed_is_a_failed_one(here: Path) -> None:
    python = here / "python"
    python.write_text(f"#!/bin/sh\necho at work\nkill -{int(signal.SIGKILL)} $$\n")
    python.chmod(0o755)
    run = Launched(GOOD, Path("logs/a.log"), here, str(python))
    assert run() == -signal.SIGKILL
    assert run.last_line == "at work"


def test_each_process_of_a_run_has_a_log(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    Launched(GOOD, Path("logs/a.log"), here, "/bin/echo")()
    assert os.listdir(here / "logs") == ["a.3.log"]


def test_a_sweep_with_a_launcher(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "paths.submissions=a,b", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
    assert main(["ledger", *words]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "2 runs; what they say is in runs/logs" and len(said) == 3
    assert len(list((here / "runs" / "logs").glob("ledger_paths.submissions=*.log"))) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra/launcher=joblib"], "a launcher starts the runs of a sweep: add -m"),
        (["-m", "hydra/launcher=jobli"], "hydra/launcher has no 'jobli'; did you mean 'joblib'?"),
        (["-m", "hydra/launcher=joblib", "hydra.launcher.jobs=2"], "did you mean 'hydra.launcher.n_jobs'?"),
        (["-m", "hydra/launcher=basic"], "hydra.launcher: choose one with hydra/launcher=joblib"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_every_preset_composes(name: str) -> None:
    launcher = compose_launcher([f"hydra/launcher={name}"])
    assert launcher is not None and str(launcher["_target_"]).startswith("nuclei.launch.with_")


def test_slurm_gets_what_the_preset_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    sbatch = here / "sbatch"  # takes the script and refuses it, as a cluster without this partition does
    sbatch.write_text("#!/bin/sh\ncp \"$1\" script.sh\necho 'invalid partition specified: gpu' >&2\nexit 1\n")
    (here / "srun").write_text("#!/bin/sh\n")
    for path in (sbatch, here / "srun"):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    launcher = compose_launcher(
        [
            "hydra/launcher=submitit_slurm",
            "hydra.launcher.partition=gpu",
            "hydra.launcher.gpus_per_node=2",
            "hydra.launcher.additional_parameters={mail-type: FAIL}",
        ]
    )
    from nuclei.build import build

    with pytest.raises(UserError, match=r"slurm took no job: .*invalid partition"):
        launch([GOOD, BAD], build(launcher), Path("logs"))
    script = (here / "script.sh").read_text()
    for line in ("partition=gpu", "gpus-per-node=2", "array=0-1%2", "mail-type=FAIL", "cpus-per-task=4"):
        assert f"#SBATCH --{line}\n" in script
