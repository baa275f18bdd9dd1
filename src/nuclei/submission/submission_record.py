"""How a submission was made: a small file beside it, from which the ledger takes its row."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuclei.atomic import atomic_write
from nuclei.ensemble.ensemble_file import EnsembleFile
from nuclei.errors import UserError

MADE = ("commit", "dirty", "command", "members", "weights", "postprocess", "oof_nested", "oof_tuned")
COMMIT = "commit.json"
"""Stands in for git in a copy of the project that has none, such as the bundle for Kaggle."""


def digest(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def made_by(ensemble: EnsembleFile, root: Path, command: str) -> dict[str, str]:
    """Return what is to be known of a submission that this process makes, as text.

    Args:
        ensemble: its members and post-processing.
        root: the folder of the project.
        command: the call that makes the submission, as one would type it.
    """
    commit, dirty = code_state(root)
    return {
        "commit": commit,
        "dirty": dirty,
        "command": command,
        "members": " ".join(str(member.run) for member in ensemble.weighted),
        "weights": " ".join(f"{member.weight:g}" for member in ensemble.weighted),
        "postprocess": " ".join(map(_step, ensemble.steps)),
        "oof_nested": str(ensemble.nested),
        "oof_tuned": str(ensemble.tuned_on_all),
    }


def _step(step: Mapping[str, Any]) -> str:
    short = {name: value for name, value in step.items() if name != "_target_"}
    if trees := short.get("trees"):
        short["trees"] = hashlib.sha256(trees.encode()).hexdigest()[:12]
    values = ",".join(f"{name}={value}" for name, value in short.items())
    return f"{step['_target_'].rpartition('.')[2]}({values})"


def write_record(submission: Path, made: Mapping[str, str]) -> None:
    """Write ``made`` beside the submission, with the sha256 that ties it to the file as it is now."""
    with atomic_write(submission.with_suffix(".json")) as part:
        part.write_text(json.dumps({"sha256": digest(submission), **made}, indent=2) + "\n")


def read_record(submission: Path) -> dict[str, str]:
    """Return how a submission was made; empty where nothing is known of these very bytes.

    Raises:
        UserError: the record is damaged.
    """
    path = submission.with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        same = made.pop("sha256") == digest(submission)
        return {name: str(made[name]) for name in MADE} if same else {}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path} is damaged ({e}); delete it, or run ./run.sh submission again") from e


def code_state(folder: str | Path) -> tuple[str, str]:
    """Return the commit of the code in ``folder``, and ``yes`` or ``no``: does it differ from that commit.

    Files that git does not know, and submissions with all that belongs to them, do not count.
    Both are empty without git.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    if (noted := Path(folder) / COMMIT).is_file():
        known = json.loads(noted.read_text())
        return known["commit"], known["dirty"]
    try:
        commit = git("rev-parse", "HEAD")
        code = ("--", ":/", ":(top,exclude)submissions")
        changes = git("status", "--porcelain", "--untracked-files=no", *code)
    except (OSError, subprocess.SubprocessError):
        return "", ""
    return commit, "yes" if changes else "no"
