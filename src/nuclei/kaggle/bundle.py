"""The bundle: one zip that a Kaggle notebook without internet needs, the same bytes from the same inputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.paths import run_folder
from nuclei.progress import track
from nuclei.submission.submission_record import COMMIT, code_state
from nuclei.training.run_folder import finished

PROJECT = ("src/nuclei/**/*.py", "configs/**/*.yaml", "folds/*.csv", "pyproject.toml", "LICENSE")
RUN = ("config.json", "done.json", "model.safetensors")
BEGINNING = 315532800  # 1980-01-01, the first date that a zip can hold

Entry = tuple[str, Path | str]
"""A member of the zip: its name, and the file or the text that it holds."""


def write_bundle(path: Path, entries: Iterable[Entry]) -> None:
    """Write a zip, whole: sorted, uncompressed, of one date and one mode, so only names and contents count.

    Raises:
        UserError: a file cannot be read, or the disk is full.
    """
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


def project(root: Path) -> Iterator[Entry]:
    """The source, the configs and the folds, and the commit that they are of."""
    for pattern in PROJECT:
        for path in root.glob(pattern):
            yield f"project/{path.relative_to(root).as_posix()}", path
    commit, dirty = code_state(root)
    yield f"project/{COMMIT}", json.dumps({"commit": commit, "dirty": dirty}) + "\n"


def chosen(ensemble: Mapping[str, Any], runs: Sequence[str] | None) -> dict[str, Any]:
    """Return the ensemble of the chosen members alone; their weights sum to 1 again.

    Args:
        ensemble: as ``nuclei.ensemble.ensemble_file.read_ensemble`` gives it.
        runs: names of members; None for all that have a weight.

    Raises:
        UserError: a run is no member that has a weight.

    >>> both = {"members": [{"run": "a/x", "weight": 0.8}, {"run": "b/x", "weight": 0.2}]}
    >>> chosen(both, ["b/x"])
    {'members': [{'run': 'b/x', 'weight': 1.0}]}
    """
    members = {member["run"]: member for member in ensemble["members"] if member["weight"] > 0}
    if unknown := [run for run in runs or () if run not in members]:
        raise UserError(
            f"the ensemble has no member {unknown[0]} with a weight; its members are {', '.join(members)}"
        )
    kept = [member for run, member in members.items() if runs is None or run in runs]
    if len(kept) == len(members):
        return {**ensemble, "members": kept}
    total = sum(member["weight"] for member in kept)
    return {**ensemble, "members": [{**m, "weight": m["weight"] / total} for m in kept]}


def weights(ensemble: Mapping[str, Any], runs: str | Path, data: str, name: str) -> Iterator[Entry]:
    """The ensemble, and of each fold of its members what a prediction reads.

    Raises:
        UserError: a fold is not finished.
    """
    yield f"ensembles/{data}/{name}/ensemble.yaml", yaml.safe_dump(dict(ensemble), sort_keys=False)
    for member in ensemble["members"]:
        model, run = member["run"].split("/")
        for fold in range(ensemble["n_folds"]):
            folder = run_folder(runs, data, model, run, fold)
            if finished(folder) is None:
                train = f"./run.sh data={data} model={model} name={run} fold={fold}"
                raise UserError(f"{folder} is not finished; run {train}")
            for file in RUN:
                if (folder / file).is_file():  # Otsu's has no weights
                    yield run_folder("runs", data, model, run, fold).joinpath(file).as_posix(), folder / file


def wheels(pins: Path, cache: Path) -> Iterator[Entry]:
    """The packages that ``pins`` names, one wheel each; pip fetches those that ``cache`` lacks.

    Raises:
        UserError: pip cannot fetch one, or it is not pure Python.
    """
    files = {pin: _wheel_of(pin) for pin in re.findall(r"^[\w.-]+==[\w.]+", pins.read_text(), re.MULTILINE)}
    if lacking := [pin for pin, name in files.items() if not (cache / name).is_file()]:
        print(f"fetching {', '.join(lacking)}", file=sys.stderr, flush=True)
        _pip(lacking, cache)
    for name in files.values():
        if not (cache / name).is_file():
            raise UserError(f"pip made no {name} in {cache}; expected a wheel for any Python and machine")
        yield f"wheels/{name}", cache / name


def _wheel_of(pin: str) -> str:
    name, _, version = pin.partition("==")
    return f"{re.sub('[-_.]+', '_', name).lower()}-{version}-py3-none-any.whl"


def _pip(pins: list[str], cache: Path) -> None:
    words = ["wheel", "--quiet", "--no-deps", "--disable-pip-version-check", "--wheel-dir", str(cache)]
    # A wheel that pip makes itself takes its dates from here.
    env = os.environ | {"SOURCE_DATE_EPOCH": str(BEGINNING)}
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *pins], env=env, capture_output=True, text=True
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(f"pip cannot fetch {', '.join(pins)}: {(said or ['it gave no reason'])[-1]}")
