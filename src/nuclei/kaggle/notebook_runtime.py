"""The bundle's part of the notebooks on Kaggle, where nothing but the standard library is there yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nuclei.errors import UserError


def find(folder: Path, *names: str) -> Path:
    """Return the first file or folder of one of these names below ``folder``; image folders are skipped.

    Raises:
        UserError: there is none.
    """
    for parent, folders, files in os.walk(folder):
        for name in names:
            if name in folders or name in files:
                return Path(parent) / name
        folders[:] = sorted(name for name in folders if not name.startswith("stage1_"))
    raise UserError(f"none of {', '.join(names)} is under {folder}: attach the competition as an input")


def install(bundle: Path, packages: Path) -> dict[str, str]:
    """Install the bundle's wheels into a separate folder, and return the environment that has them.

    Nothing in the image changes, and the image's PYTHONPATH stays.
    """
    words = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
    wheels = map(str, sorted((bundle / "wheels").glob("*.whl")))
    subprocess.run([sys.executable, "-m", "pip", *words, "--target", str(packages), *wheels], check=True)
    path = [str(bundle / "project" / "src"), str(packages), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def run(words: Sequence[str], environment: dict[str, str]) -> None:
    """Run a command of the project, and print its output where a notebook shows it.

    Raises:
        UserError: the command failed.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "nuclei", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
    if process.returncode:
        raise UserError(f"{words[0]} failed with status {process.returncode}, see above")
