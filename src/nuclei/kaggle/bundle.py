"""The bundle: one zip that a Kaggle notebook without internet needs, and the notebook's part of it.

The notebooks import this module before they install its wheels, with the standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.paths import Paths
from nuclei.progress import track

if TYPE_CHECKING:
    from nuclei.ensemble.ensemble_file import EnsembleFile

PROJECT = ("src/nuclei/**/*.py", "configs/**/*.yaml", "folds/*", "pyproject.toml", "LICENSE")
ZIP_EPOCH = 315532800  # 1980-01-01, the first date that a zip can hold

Entry = tuple[str, Path | str]
"""A member of the zip: its name, and the file or the text that it holds."""


def write_bundle(path: Path, entries: Iterable[Entry]) -> None:
    """Write a zip whose bytes depend on names and contents alone: sorted, stored, of one date and mode."""
    with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as z:
        for name, content in track(sorted(entries, key=lambda entry: entry[0]), "bundle"):
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system = 0o100644 << 16, 3  # a plain file of a Unix
            z.writestr(info, content if isinstance(content, str) else _read(content))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}") from e


def project_files(root: Path) -> Iterator[Entry]:
    """Yield the source, the configs and the folds, and the commit that they are of."""
    from nuclei.training.environment import COMMIT, code_state

    for pattern in PROJECT:
        for path in root.glob(pattern):
            yield f"project/{path.relative_to(root).as_posix()}", path
    commit, dirty = code_state(root)
    yield f"project/{COMMIT}", json.dumps({"commit": commit, "dirty": dirty}) + "\n"


def keep_members(ensemble: EnsembleFile, runs: Sequence[str] | None) -> EnsembleFile:
    """Return the ensemble of the weighted members ``runs``, or of all, with sum 1; refuse other runs."""
    members = {str(member.run): member for member in ensemble.weighted}
    if unknown := [run for run in runs or () if run not in members]:
        raise UserError(
            f"the ensemble has no member {unknown[0]} with a weight; its members are {', '.join(members)}"
        )
    kept = [member for run, member in members.items() if runs is None or run in runs]
    total = sum(member.weight for member in kept) if len(kept) < len(members) else 1.0
    return replace(ensemble, members=tuple(replace(m, weight=m.weight / total) for m in kept))


def network_files(ensemble: EnsembleFile, paths: Paths, name: str) -> Iterator[Entry]:
    """Yield the ensemble, and the files that a prediction reads of each fold; refuse an unfinished fold."""
    from nuclei.training.run_folder import read_result

    inside = replace(paths, runs=Path("runs"), ensembles=Path("ensembles"))
    yield inside.ensemble(name).as_posix(), ensemble.to_yaml()
    for run in (member.run for member in ensemble.members):
        for fold in range(ensemble.n_folds):
            folder, copy = paths.fold(run, fold), inside.fold(run, fold)
            if read_result(folder) is None:
                raise UserError(f"{folder} is not finished; run {folder.train_command()}")
            yield copy.settings.as_posix(), folder.settings
            yield copy.result.as_posix(), folder.result
            if folder.weights.is_file():  # Otsu has none
                yield copy.weights.as_posix(), folder.weights


def wheel_files(pins: Path, cache: Path) -> Iterator[Entry]:
    """Yield the pure-Python wheel of each package in ``pins``; pip fetches those that ``cache`` lacks."""
    names = re.findall(r"^[\w.-]+==[\w.]+", pins.read_text(), re.MULTILINE)
    if lacking := [name for name in names if not _find_wheel(name, cache)]:
        print(f"fetching {', '.join(lacking)}", file=sys.stderr, flush=True)
        _fetch_wheels(lacking, cache)
    for name in names:
        wheel = _find_wheel(name, cache)
        if not wheel:
            raise UserError(f"pip made no wheel of {name} for any Python and machine in {cache}")
        yield f"wheels/{wheel.name}", wheel


def _find_wheel(pin: str, cache: Path) -> Path | None:
    """Return the pure-Python wheel of a package, such as ``name-1.0-py2.py3-none-any.whl``."""
    name, _, version = pin.partition("==")
    stem = f"{re.sub('[-_.]+', '_', name).lower()}-{version}"
    return min(cache.glob(f"{stem}-*py3-none-any.whl"), default=None)


def _fetch_wheels(pins: list[str], cache: Path) -> None:
    words = ["wheel", "--quiet", "--no-deps", "--disable-pip-version-check", "--wheel-dir", str(cache)]
    # A wheel that pip makes itself takes its dates from here.
    env = os.environ | {"SOURCE_DATE_EPOCH": str(ZIP_EPOCH)}
    command = [sys.executable, "-m", "pip", *words, *pins]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    if process.returncode:
        errors = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(f"pip cannot fetch {', '.join(pins)}: {(errors or ['it gave no reason'])[-1]}")


def find(folder: Path, *names: str) -> Path:
    """Return the first path of these names below ``folder``, or raise; image folders are skipped."""
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
    """Run a command of the project, and print its output where a notebook shows it; raise if it fails."""
    command = [sys.executable, "-m", "nuclei", *words]
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=same, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
    if process.returncode:
        raise UserError(f"{words[0]} failed with status {process.returncode}, see above")
