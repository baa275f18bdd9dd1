"""The door: ``python -m nuclei COMMAND key=value ...``.

Nothing heavy is imported until a command is to run, so that ``help`` answers at once and on any Python.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.call import Call
from nuclei.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"

COMMANDS = {
    "help": "list the commands",
    "download": "fetch the competition's files with the kaggle client",
    "prepare": "turn the competition's files into one compact store",
    "folds": "split the training images into folds",
    "train": "train one model on one fold, then predict that fold's images",
    "ensemble": "average runs; tune weights and post-processing on their out-of-fold maps",
    "analyse": "show where out-of-fold predictions lose their score, in one HTML file",
    "submission": "predict the test images and write a submission",
    "export": "put one run's network and post-processing into one small file",
    "predict": "find the nuclei in any images, with the model in the box or an ensemble",
    "app": "a local web page: drop an image, see its nuclei",
    "validate": "check a submission against the competition's rules",
    "score": "show the competition's metric for a submission or for out-of-fold maps",
    "submit": "validate a submission, send it, wait for its score",
    "bundle": "put source, configs, wheels and weights into one zip for Kaggle's notebooks",
    "push": "send the bundle to Kaggle, run the notebooks there, fetch their output",
    "ledger": "show what was sent, and how out-of-fold and leaderboard scores go together",
    "all": "everything from prepare to submission; finished steps are skipped",
    "table": "train the systems of a paper; write its table with our figures beside theirs",
    "bench": "time the core against what others use; needs requirements-bench.txt",
    "test": "run the whole test suite",
}
FLAGS = ("-m", "--multirun", "-h", "--help")
SHORT = {"--fix": "fix=true"}
# No output folders, no logging set-up: a path here is a function of names, never of time.
PLAIN = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 2 for an error, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return run(words)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as e:
        if debug:
            import traceback

            traceback.print_exc()
        print(f"error: {describe(e)}", file=sys.stderr)
        return 2


def run(words: list[str]) -> int:
    """Find the command that ``words`` name and run it."""
    command, *rest = words or ["help"]
    if "=" in command or command in ("-m", "--multirun"):
        command, rest = "train", words
    if command in ("help", "-h", "--help"):
        print(usage())
        return 0
    if command not in COMMANDS:
        from nuclei.settings import nearest

        raise UserError(
            f"no command '{command}'; did you mean '{nearest(command, COMMANDS)}'? ./run.sh help lists them"
        )
    if sys.version_info < (3, 11):  # noqa: UP036 (NUCLEI_PYTHON may name an older one)
        raise UserError(f"Python 3.11 or 3.12 is needed; {sys.executable} is {sys.version.split()[0]}")
    if command == "test":
        os.chdir(ROOT)
        workers = ["-n", str(min(os.cpu_count() or 1, 8)), "--dist", "loadfile", "--max-worker-restart", "2"]
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *workers, *rest])
    start(command, rest)
    return 0


def usage() -> str:
    """List the commands, one line each."""
    lines = [f"  {name:<11} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "./run.sh [COMMAND] [key=value ...]    with no COMMAND it is train: ./run.sh fold=0",
            *lines,
            "./run.sh COMMAND --help shows its settings; -m key=a,b runs each; --debug shows tracebacks",
        ]
    )


def describe(error: BaseException) -> str:
    """Put an error on one line; a UserError that something else wraps speaks for itself."""
    inner: BaseException | None = error
    seen: list[BaseException] = []  # a chain of contexts can be a ring
    while inner is not None and inner not in seen:
        if isinstance(inner, UserError):
            return " ".join(str(inner).split())
        seen.append(inner)
        inner = inner.__cause__
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("nuclei"):
        return f"the package {error.name} is missing; {sys.executable} -m pip install -r requirements.txt"
    return " ".join(f"{type(error).__name__}: {error} (--debug shows the traceback)".split())


def start(command: str, words: list[str]) -> None:
    """Check the settings, then hand the composed config to the command's ``main(cfg)``."""
    from nuclei.commands._compose import checked

    flags, settings = split(words)
    if "-h" not in flags and "--help" not in flags:
        settings = checked(command, settings, CONFIGS, sweep="-m" in flags or "--multirun" in flags)
    # Hydra writes a file for each sweep; nothing here reads it.
    with tempfile.TemporaryDirectory(prefix="nuclei-sweep-") as folder:
        sys.argv = [command, *flags, *PLAIN, f"hydra.sweep.dir={folder}", *settings]
        launch(command)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Part the flags from the settings; Hydra wants the flags first."""
    flags: list[str] = []
    settings: list[str] = []
    for word in words:
        if not word.startswith("-"):
            settings.append(word)
        elif word in FLAGS:
            flags.append(word)
        elif word in SHORT:
            settings.append(SHORT[word])
        else:
            raise UserError(
                f"no option '{word}'; settings are written key=value, options: {', '.join((*FLAGS, *SHORT))}"
            )
    return flags, settings


def launch(command: str) -> None:
    """Let Hydra compose the config, once or for each run of a sweep, and call the command with it."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    module = importlib.import_module(f"nuclei.commands.{command}")
    failed: list[Exception] = []

    def job(cfg: DictConfig) -> None:
        # What records and hints show: this run, not the sweep.
        call = Call(command, tuple(HydraConfig.get().overrides.task))
        # Hydra would print its own lines before an error; leaving by SystemExit keeps it silent.
        try:
            module.main(cfg, call)
        except Exception as e:
            failed.append(e)
            raise SystemExit(2) from None

    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else each import of it asks the network for a newer one
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come up to main() instead of being printed
    try:
        hydra.main(version_base=None, config_path=str(CONFIGS), config_name=command)(job)()
    except SystemExit as e:
        if isinstance(e.__context__, KeyboardInterrupt):  # how Lightning leaves after Ctrl-C
            raise KeyboardInterrupt from None
        if not failed:
            raise
    if failed:
        raise failed[0]


if __name__ == "__main__":
    sys.exit(main())
