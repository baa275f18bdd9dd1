"""The command line: ``nuclei COMMAND key=value ...``, or ``./run.sh`` in a checkout.

Nothing heavy is imported until a command is to run, so that ``help`` answers at once and on any Python.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent, wrap
from typing import TYPE_CHECKING

from nuclei.errors import Terminated, UserError, nearest_name
from nuclei.paths import IN_CHECKOUT, PARENT, PROGRAM, ROOT, shipped
from nuclei.training.environment import choose_recipe, has_gpu, small_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from omegaconf import DictConfig

    from nuclei.config import Call

COMMANDS = {
    "help": "list the commands",
    "download": "fetch the competition's files from Kaggle",
    "prepare": "turn the competition's files into one compact store",
    "folds": "split the training images into folds",
    "train": "train one model on one fold, then predict that fold's images",
    "ensemble": "average runs; tune weights and post-processing on their out-of-fold maps",
    "analyse": "show where out-of-fold predictions lose their score, in one HTML file",
    "submission": "predict the test images and write a submission",
    "reproduce": "say what differs between what a run was trained with and today",
    "export": "put one run's network and post-processing into one small file",
    "predict": "find the nuclei in any images, with the bundled model or an ensemble",
    "app": "a local web page: drop an image, see its nuclei",
    "validate": "check a submission against the competition's rules",
    "score": "show the metrics of a submission, of out-of-fold maps, or of any label maps",
    "submit": "validate a submission, send it, wait for its score",
    "bundle": "put source, configs, wheels and weights into one zip for Kaggle's notebooks",
    "push": "send the bundle to Kaggle, run the notebooks there, fetch their output",
    "ledger": "show what was sent, and how out-of-fold and leaderboard scores go together",
    "all": "everything from prepare to submission; finished steps are skipped",
    "table": "train the systems of a paper; write its table with our figures beside theirs",
    "bench": "time the core against what others use; needs requirements-bench.txt",
    "test": "run the whole test suite",
}
CHECKOUT_ONLY = ("bundle", "push", "bench", "test")
"""Commands that need files of the repository which the installed package leaves out."""
FLAGS = ("-m", "--multirun", "-h", "--help")
SHORTCUTS = {"--fix": "fix=true"}
DEMO = ("prepare", "folds", "train", "ensemble", "analyse", "submission", "validate", "score", "bench", "all")
"""Commands that use the demo data set on a machine that has no competition data."""
INPUTS = {"data", "data.name", "data.root", "data.store", "images", "labels", "truth", "solution"}
"""Settings that say which data are meant."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 2 for an error, 130 or 143 when it was stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with sigterm_raises():
            if parent := os.environ.pop(PARENT, None):  # children of this one are not meant
                from nuclei.progress import end_with

                end_with(int(parent))
            run([word for word in words if word != "--debug"])
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (KeyboardInterrupt, SystemExit, Terminated) as e:
        interrupted = isinstance(e, KeyboardInterrupt) or isinstance(e.__context__, KeyboardInterrupt)
        if isinstance(e, SystemExit) and not interrupted:  # Lightning leaves with one after Ctrl-C
            raise
        print("stopped; the same command goes on", file=sys.stderr)
        return 130 if interrupted else 143
    except Exception as e:
        if debug:
            traceback.print_exc()
        print(f"error: {describe(e).replace('./run.sh', PROGRAM)}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise ``Terminated``, as Ctrl-C raises ``KeyboardInterrupt``."""

    def stop(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(words: list[str]) -> None:
    """Find the command that ``words`` name and run it."""
    command, *rest = words or ["help"]
    if "=" in command or command in ("-m", "--multirun"):
        command, rest = "train", words
    if command in ("help", "-h", "--help"):
        if not rest or rest[0] == "help":
            print(usage())
            return
        command, rest = rest[0], [*rest[1:], "--help"]
    if command in ("version", "--version"):
        from nuclei import __version__

        print(f"nuclei {__version__}")
        return
    if command not in COMMANDS:
        meant = nearest_name(command, COMMANDS)
        raise UserError(f"no command '{command}'; did you mean '{meant}'? ./run.sh help lists them")
    if {"-h", "--help"} & {*rest}:
        print(help_text(command, [word for word in rest if word not in FLAGS]))
        return
    if sys.version_info < (3, 11):  # noqa: UP036 (NUCLEI_PYTHON may name an older one)
        raise UserError(f"Python 3.11 or 3.12 is needed; {sys.executable} is {sys.version.split()[0]}")
    if command in CHECKOUT_ONLY and not IN_CHECKOUT:
        raise UserError(f"{command} needs a checkout of the repository, which has run.sh; this is {ROOT}")
    if command == "test":
        os.chdir(ROOT)
        if rest[:1] == ["faults"]:  # strikes at every change of a file, see docs/reliability.md
            os.environ["NUCLEI_STRIKES"], rest = "all", ["tests/faults", *rest[1:]]
        workers = ["-n", str(min(os.cpu_count() or 1, 8)), "--dist", "loadfile", "--max-worker-restart", "2"]
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *workers, *rest])
    flags, settings = split_words(rest)
    if any(map(names_launcher, settings)):
        launch_runs(command, settings, sweep=bool(flags))
        return
    runs = composed_runs(command, settings, sweep=bool(flags))
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else each import of it asks the network for a newer one
    run_each(importlib.import_module(f"nuclei.commands.{command}").main, runs)


def run_each(command: Callable[[DictConfig, Call], None], runs: Sequence[tuple[Call, DictConfig]]) -> None:
    """Run a command with each of several settings; one that fails does not take the others along.

    Raises:
        UserError: several were to run and some failed; the message names them.
    """
    failed = []
    for call, cfg in runs:
        try:
            command(cfg, call)
        except Exception as e:
            if len(runs) == 1:
                raise
            print(f"error: {describe(e)}; going on with the next run", file=sys.stderr)
            failed.append(call.text)
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}")


def names_launcher(word: str) -> bool:
    """Return whether a setting chooses what starts the runs of a sweep, or is one of its own settings."""
    return word.lstrip("+").startswith(("hydra/launcher=", "hydra.launcher."))


def launch_runs(command: str, settings: list[str], sweep: bool) -> None:
    """Let one of ``configs/hydra/launcher`` start the runs of a sweep side by side.

    Raises:
        UserError: it is no sweep, a setting is wrong, or some runs failed.
    """
    from nuclei.build import build, build_folders, ensure_data
    from nuclei.config import compose_launcher
    from nuclei.launch import launch

    if not sweep:
        raise UserError("a launcher starts the runs of a sweep: add -m")
    launcher = compose_launcher([word for word in settings if names_launcher(word)])
    words = [word for word in settings if not names_launcher(word)]
    runs = composed_runs(command, words, sweep, recipes=False)  # each run's machine chooses its own
    if launcher is None:
        raise UserError("hydra.launcher: choose one with hydra/launcher=joblib or another of its options")
    if command == "train":  # once, before the runs do it side by side
        for call, cfg in {cfg.data.store: (call, cfg) for call, cfg in runs}.values():
            ensure_data(cfg, call)
    launch([call for call, _ in runs], build(launcher), build_folders(runs[0][1]).logs)


def usage() -> str:
    """List the commands, one line each."""
    usable = COMMANDS.keys() - (() if IN_CHECKOUT else CHECKOUT_ONLY)
    lines = [f"  {name:<11} {what}" for name, what in COMMANDS.items() if name in usable]
    return "\n".join(
        [
            f"{PROGRAM} [COMMAND] [key=value ...]    with no COMMAND it is train: {PROGRAM} fold=0",
            *lines,
            f"{PROGRAM} help COMMAND shows its settings; -m key=a,b runs each; --debug shows tracebacks",
        ]
    )


def help_text(command: str, words: list[str]) -> str:
    """Show what a command does, examples, its settings with their comments, and its groups of settings.

    The YAML files speak for themselves, so that no package is needed.

    ``words`` are groups whose settings are shown too, ``GROUP`` or ``GROUP=OPTION``; other settings are
    passed over.
    """
    folder, door = shipped("configs"), f"{PROGRAM} {command}"
    if command == "test":
        return (
            f"{door} [files and options of pytest]    {COMMANDS[command]}\n"
            f"  {door} tests/data -k palette\n"
            f"  {door} faults # strikes every command at each of its changes of a file"
        )
    head, _, body = (folder / f"{command}.yaml").read_text(encoding="utf-8").partition("defaults:")
    defaults, _, own = body.partition("- _self_\n")
    chosen = dict(re.findall(r"- ([\w@.]+): (\w+)", defaults))
    lines = [f"{door} key=value ...    {COMMANDS[command]}", *head.replace("# ", "  ").splitlines(), ""]
    lines += [own.strip("\n"), ""] if own.strip() else []
    lines += [f"Groups; '{door} --help {next(iter(chosen))}' shows the settings of one:"]
    for name, option in chosen.items():
        group = folder / name.partition("@")[0]
        options = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
        lines += wrap(f"{name}: {option}" + (f"; or one of {options}" if options != option else ""), 110)
    for word in words:
        name, equals, option = word.partition("=")
        if equals and name not in chosen:
            continue  # a setting of the call whose help is asked for
        path = folder / name.partition("@")[0] / f"{option or chosen.get(name)}.yaml"
        if not path.is_file():
            raise UserError(f"{command} has no group '{word}'; expected one of {', '.join(chosen)}")
        lines += ["", f"{name}:", indent(path.read_text(encoding="utf-8").rstrip(), "  ")]
    return "\n".join(lines).replace("./run.sh", PROGRAM)


def describe(error: BaseException) -> str:
    """Put an error on one line; a UserError that something else wraps speaks for itself."""
    inner: BaseException | None = error
    chain: list[BaseException] = []  # a chain of causes can be a ring
    while inner is not None and inner not in chain:
        if isinstance(inner, UserError):
            return " ".join(str(inner).split())
        chain.append(inner)
        inner = inner.__cause__
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("nuclei"):
        return f"the package {error.name} is missing; {sys.executable} -m pip install -r requirements.txt"
    return " ".join(f"{type(error).__name__}: {error} (--debug shows the traceback)".split())


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Part the flags from the settings.

    Raises:
        UserError: there is no such flag.
    """
    flags = [word for word in words if word in FLAGS]
    settings = [SHORTCUTS.get(word, word) for word in words if word not in FLAGS]
    if unknown := [word for word in settings if word.startswith("-")]:
        raise UserError(
            f"no option '{unknown[0]}'; settings are written key=value, "
            f"options: {', '.join((*FLAGS, *SHORTCUTS))}"
        )
    return flags, settings


def composed_runs(
    command: str, settings: list[str], sweep: bool, recipes: bool = True
) -> list[tuple[Call, DictConfig]]:
    """Compose and check every run of a command before the first one starts.

    Args:
        sweep: whether ``key=a,b`` means one run for each, all combinations in order.
        recipes: whether to choose the recipe by this machine.

    Raises:
        UserError: a setting is unknown or has another type.
    """
    from nuclei.config import Call, compose_config, expand_sweep

    runs, notes = [], []
    for words in expand_sweep(settings) if sweep else [settings]:
        cfg, names = compose_config(command, words), {word.partition("=")[0] for word in words}
        if uses_demo(command, cfg, names):
            notes.append(
                f"there's no competition data at {cfg.data.root} ({PROGRAM} download fetches it), "
                "using the demo data set"
            )
            words = [*words, "data=demo"]
            cfg = compose_config(command, words)
        call = Call(command, tuple(words))
        if recipes and command in ("train", "all"):
            recipe = choose_recipe(cfg.recipe, cfg.data.without_gpu is not None, has_gpu())
            if small := small_words(command, cfg, names) if recipe.startswith("small") else []:
                notes.append(f"no GPU, so the same recipe in small: {' '.join(small)}")
                cfg = compose_config(command, [*words, *small])
            cfg.recipe = recipe
        runs.append((call, cfg))
    for note in dict.fromkeys(notes):
        print(note, file=sys.stderr)
    return runs


def uses_demo(command: str, cfg: DictConfig, chosen: Collection[str]) -> bool:
    """Return whether the demo data set stands in: no other was chosen, and the competition's is missing."""
    if command not in DEMO or cfg.data.name != "dsb2018" or INPUTS & {*chosen}:
        return False
    return not (Path(cfg.data.root).exists() or Path(cfg.data.store).exists())


def small_words(command: str, cfg: DictConfig, chosen: Collection[str]) -> list[str]:
    """Return the settings of the data set's smaller recipe, but for those that were chosen."""
    if cfg.data.without_gpu is None:
        raise UserError(f"recipe=small: data={cfg.data.name} has no smaller recipe")
    if command == "train":
        return [f"{name}={value}" for name, value in small_settings(cfg.data.without_gpu, chosen).items()]
    settings = small_settings(cfg.data.without_gpu, {*cfg.train})
    model = settings.pop("model", None)
    pairs = ",".join(f"{name}:{value}" for name, value in settings.items())
    words = [f"train={{{pairs}}}"] if pairs else []
    return words + ([f"models=[{model}]"] if model and "models" not in chosen else [])
