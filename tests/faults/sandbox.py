"""A sandbox: an empty folder in which commands run as a user would run them, against a local Kaggle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kaggle_server import KaggleServer

ROOT = Path(__file__).parents[2]
HASTE = ("kaggle.patience=2.0", "kaggle.retries=1")


class Sandbox:
    """Runs commands in ``folder``, with a home of their own that holds no credentials."""

    def __init__(self, folder: Path, server: KaggleServer) -> None:
        self.folder, self.server = folder, server
        self.home = folder / "home"
        self.home.mkdir()

    def run(
        self, *words: str, before: Callable[[], None] | None = None, **credentials: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``./run.sh WORDS`` without the installation; ``before`` runs in the new process first."""
        process = self.start(*words, before=before, **credentials)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(
        self, *words: str, before: Callable[[], None] | None = None, **credentials: str
    ) -> subprocess.Popen[str]:
        """Start what ``run`` waits for."""
        env = self.server.environment(str(self.home), **credentials)
        # "" stands for: no such variable
        env = {k: v for k, v in env.items() if v} | {"PYTHONPATH": str(ROOT / "src")}
        return subprocess.Popen(
            [sys.executable, "-m", "nuclei", words[0], *HASTE, *words[1:]],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )

    def files(self) -> list[str]:
        """List all files, home apart."""
        found = (p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        return sorted(p for p in found if not p.startswith("home/"))


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Check that a command failed as it should, and return its one line."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(errors) == 1 and done.stderr.rstrip().endswith(errors[0]), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return errors[0]
