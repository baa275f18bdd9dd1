"""run.sh: finds a Python, makes the environment, mends it, and stays out of the way afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
MISSING = "error: the package hydra is missing"  # what a command says in an environment without packages
INSTALLING = "installing the pinned packages"
TOOLS = "bash cat cut date dirname env find flock grep head ln ls mkdir mv readlink rm sed sh sha256sum sleep"
TOOLS += " tail tee tr touch uname"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository that asks for no packages, so that an install takes seconds."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    shutil.copy(REPO / "run.sh", clone)
    shutil.copytree(REPO / "src", clone / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "configs", clone / "configs")
    (clone / "requirements.lock").write_text("# nothing\n")
    return clone


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    """A folder with the ordinary tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS.split():
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    return folder


def script(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def start(clone: Path, bin: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """Call run.sh where only ``bin`` is on the path."""
    env = {"PATH": str(bin), "HOME": str(bin), "PYENV_ROOT": str(bin), **more}
    words = (str(clone / "run.sh"), *words)
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=bin.parent
    )


def run(clone: Path, bin: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Call run.sh and wait for its end."""
    process = start(clone, bin, *words, **more)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def real_python(bin: Path, name: str = "python3.11") -> None:
    """Put a Python on the path: what this one was made from, as it has ensurepip."""
    (bin / name).symlink_to(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def test_help_needs_no_environment(clone: Path, bin: Path) -> None:
    real_python(bin, "python3")
    for words in [], ["help"], ["--help"]:
        done = run(clone, bin, *words)
        assert done.returncode == 0
        assert "  train " in done.stdout
    for words in ["help", "predict"], ["predict", "--help"]:
        assert "  ./run.sh predict input=image.png\n" in run(clone, bin, *words).stdout
    assert run(clone, bin, "trian").stderr.startswith("error: no command 'trian'; did you mean 'train'?")
    assert not (clone / ".venv").exists()


def test_no_python_is_one_line(clone: Path, bin: Path) -> None:
    for words in ["help"], ["fold=0"]:
        done = run(clone, bin, *words)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "Python 3.11 or 3.12" in done.stderr
        assert done.stderr.count("\n") == 1


def test_an_older_python_is_one_line(clone: Path, bin: Path) -> None:
    script(bin / "python3", "echo 3.9")  # what the probe prints there
    done = run(clone, bin, "fold=0")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: Python 3.11 or 3.12 is needed, {bin}/python3 is 3.9; install one")
    assert done.stderr.count("\n") == 1
    assert not (clone / ".venv").exists()


def test_the_environment_is_made_once_and_mended(clone: Path, bin: Path) -> None:
    """One road, as each environment takes seconds: two first calls, later ones, a change, a cut, an error."""
    script(bin / "python3.12", "echo 'python3.12: command not found' >&2; exit 127")  # a shim of pyenv
    real_python(bin)
    stamp, requirements = clone / ".venv/.installed", clone / "requirements.lock"

    both = [start(clone, bin, "fold=0") for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert all(MISSING in text and str(clone / ".venv/bin/python") in text for text in said)
    assert sum(INSTALLING in text for text in said) == 1
    assert run(clone, bin, "fold=0").stderr.startswith(MISSING)

    requirements.write_text("# changed\n")
    assert INSTALLING in run(clone, bin, "fold=0").stderr
    assert run(clone, bin, "fold=0").stderr.startswith(MISSING)

    requirements.write_text("./nowhere\n")
    done = run(clone, bin, "fold=0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the packages could not be installed: ERROR: ")

    # As if killed there, with a package half written.
    assert stamp.read_text() == "installing\n"
    shutil.rmtree(next(clone.glob(".venv/lib/*/site-packages/pip")) / "_internal")
    requirements.write_text("# changed again\n")
    assert INSTALLING in run(clone, bin, "fold=0").stderr
    assert list(clone.glob(".venv/lib/*/site-packages/pip/_internal"))
    assert run(clone, bin, "fold=0").stderr.startswith(MISSING)


def test_nuclei_python_is_used_as_it_is(clone: Path, bin: Path) -> None:
    done = run(clone, bin, "prepare", "wrokers=3", NUCLEI_PYTHON=sys.executable)
    assert done.stderr == "error: prepare has no setting 'wrokers'; did you mean 'workers'?\n"
    done = run(clone, bin, "fold=0", NUCLEI_PYTHON="/nowhere/python")
    assert done.stderr == "error: NUCLEI_PYTHON is /nowhere/python, which cannot be run\n"
    assert not (clone / ".venv").exists()


def test_a_link_to_it_works_from_anywhere(clone: Path, bin: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "nuclei"
    link.parent.mkdir()
    link.symlink_to(clone / "run.sh")
    env = {**os.environ, "NUCLEI_PYTHON": sys.executable}
    done = subprocess.run(
        [str(link), "prepare", "data.root=here"], capture_output=True, text=True, env=env, cwd=link.parent
    )
    assert done.stderr.startswith("error: no competition data at here; ")
