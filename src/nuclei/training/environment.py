"""What a training depends on besides its settings: the packages, code and data of then and of today.

A machine without a GPU also takes the smaller recipe of a data set, which is chosen here.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path

from nuclei.atomic import read_json, write_json
from nuclei.errors import UserError

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files of the drivers of GPUs, on Linux."""
COMMIT = "commit.json"
"""Stands in for git in a copy of the project that has none, such as the bundle for Kaggle."""


@dataclass(frozen=True)
class Environment:
    """The packages, code and data of a training.

    Attributes:
        command: that began it, as typed.
        words: its settings, ``key=value``.
        commit: of the code; empty without git.
        changed: ``yes`` where the code differed from the commit, else ``no``.
        store_sha256: hash of the prepared images.
        system: of the machine, and its processor.
        packages: version of each installed package.
    """

    command: str
    words: tuple[str, ...]
    commit: str
    changed: str
    store_sha256: str
    python: str
    system: str
    packages: Mapping[str, str]


def code_state(folder: str | Path) -> tuple[str, str]:
    """Return the commit of the code in ``folder``, and ``yes`` or ``no``: does it differ from that commit.

    Files that git does not know, and submissions with all that belongs to them, do not count.
    Both are empty without git, and where the folder is not the top of its repository: an installed package
    may lie inside of another project's.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    if (copy := Path(folder) / COMMIT).is_file():
        state = json.loads(copy.read_text())
        return state["commit"], state["dirty"]
    try:
        if not Path(git("rev-parse", "--show-toplevel")).samefile(folder):
            return "", ""
        commit = git("rev-parse", "HEAD")
        code = ("--", ":/", ":(top,exclude)submissions")
        changes = git("status", "--porcelain", "--untracked-files=no", *code)
    except (OSError, subprocess.SubprocessError):
        return "", ""
    return commit, "yes" if changes else "no"


def current_environment(command: str, words: tuple[str, ...], root: Path, store_sha256: str) -> Environment:
    """Return today's environment; ``root`` is the folder of the project."""
    packages = {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name or "") if d.name}
    system = f"{platform.system()} {platform.machine()}"
    python = platform.python_version()
    return Environment(command, words, *code_state(root), store_sha256, python, system, packages)


def write_environment(path: Path, environment: Environment) -> None:
    """Write an environment as JSON, whole."""
    write_json(path, asdict(environment))


def read_environment(path: Path) -> Environment:
    """Read what ``write_environment`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        values = read_json(path)
        return Environment(**values | {"words": tuple(values["words"])})
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(
            f"{path} is missing or damaged, so nobody can say what {path.parent} was trained with"
        ) from e


def differences(before: Environment, now: Environment) -> Iterator[str]:
    """Yield a line for each difference in code, data, Python, machine and packages."""
    if before.commit != now.commit:
        yield f"code: commit {before.commit[:7] or 'unknown'}, today {now.commit[:7] or 'unknown'}"
    if "yes" in (before.changed, now.changed):
        when = [name for name, e in (("then", before), ("today", now)) if e.changed == "yes"]
        yield f"code: with changes that are in no commit, {' and '.join(when)}"
    if before.store_sha256 != now.store_sha256:
        yield f"data: the store had sha256 {before.store_sha256[:12]}, today {now.store_sha256[:12]}"
    for name, a, b in (("Python", before.python, now.python), ("machine", before.system, now.system)):
        if a != b:
            yield f"{name}: {a}, today {b}"
    for name in sorted(before.packages.keys() | now.packages.keys()):
        a, b = (packages.get(name, "none") for packages in (before.packages, now.packages))
        if a != b:
            yield f"package {name}: {a}, today {b}"


def has_gpu() -> bool:
    """Return whether a GPU's driver is there; torch would take a second to tell."""
    return sys.platform == "darwin" or any(map(os.path.exists, GPU_DEVICES))


def choose_recipe(recipe: str, has_small: bool, gpu: bool) -> str:
    """Return which recipe to train with, and why; a choice that was made before, with its reason, stays.

    Raises:
        UserError: there is no such recipe.

    >>> choose_recipe("auto", has_small=True, gpu=False)
    'small: no GPU'
    """
    if recipe.partition(":")[0] not in ("full", "small", "auto"):
        raise UserError(f"recipe={recipe}: expected full, small or auto")
    if recipe != "auto":
        return recipe
    return "small: no GPU" if has_small and not gpu else "full"


def small_settings(small: Mapping[str, str | int], chosen: Collection[str]) -> dict[str, str | int]:
    """Return the settings of ``train`` that a data set's smaller recipe changes, but for ``chosen`` ones."""
    names = ("batch_size", "samples_per_epoch", "trainer.max_epochs", "model")
    return {name: small[name.removeprefix("trainer.")] for name in names if name not in chosen}
