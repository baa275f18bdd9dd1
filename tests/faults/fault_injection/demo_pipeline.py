"""The whole pipeline on a tiny demo set, each command in a process that a fault can be injected into.

The processes are forked from one that has imported all that is heavy, so that a strike costs its work alone.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HEAVY = (
    "nuclei.cli",
    "nuclei.model_loading",
    "nuclei.build",
    "nuclei.training.train_fold",
    "nuclei.ensemble.tune",
    "nuclei.analysis.report",
)
DATA = ("data=demo", "data.source.n_train=4", "data.source.n_test=2")
MODEL = ("model=unet", "model.network.encoder=timm-mobilenetv3_small_minimal_100")
TINY = (
    "augment.crop=64",
    "batch_size=4",
    "samples_per_epoch=8",
    "tta=1",
    "trainer.max_epochs=2",
    "num_workers=0",
)
CSV = "submissions/demo_default.csv"


@dataclass(frozen=True)
class Step:
    """A command of the pipeline and the files and folders that it makes."""

    words: tuple[str, ...]
    makes: tuple[str, ...] = ()


PIPELINE = {
    "prepare": Step(("prepare", *DATA, "workers=1"), ("data/demo", "data/demo.store")),
    "folds": Step(("folds", *DATA, "n_folds=2"), ("data/demo_folds.csv", "data/demo_folds.csv.sha256")),
    "train": Step(("train", *DATA, *MODEL, *TINY, "fold=0"), ("runs/demo/unet/default/fold0",)),
    "train fold 1": Step(("train", *DATA, *MODEL, *TINY, "fold=1"), ("runs/demo/unet/default/fold1",)),
    "ensemble": Step(("ensemble", *DATA, "trials=2", "refine=0", "finalists=1", "workers=1"), ("ensembles",)),
    "submission": Step(("submission", *DATA), (CSV, f"{CSV[:-4]}.json")),
    "export": Step(
        (
            "export",
            "run=unet/default",
            "fold=0",
            "ensemble=default",
            "data=demo",
            "output=out/box.safetensors",
        ),
        ("out",),
    ),
    "predict": Step(
        ("predict", "input=data/demo/stage1_test", "weights=out/box.safetensors", "workers=1"),
        ("predictions",),
    ),
    "validate": Step(("validate", f"submission={CSV}", *DATA)),
    "validate --fix": Step(
        ("validate", "submission=submissions/spoilt.csv", *DATA, "--fix"), ("submissions/spoilt_fixed.csv",)
    ),
    "score": Step(("score", f"submission={CSV}", *DATA)),
    "analyse": Step(("analyse", *DATA, "workers=1"), ("reports",)),
    "ledger": Step(("ledger",), ("submissions/ledger.png",)),
    "bundle": Step(("bundle", "data=demo"), ("kernels/dataset/nuclei.zip",)),
}


@dataclass(frozen=True)
class Strike:
    """Where a process is struck: at which change of a file that fits, from 1 (0: at none), and with what."""

    number: int = 0
    fault: str = "kill"
    match: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        status: exit status; -9 for one that was killed.
        text: all that it printed.
        changes: the changes of files that it began, ``EVENT PATH``.
        orphans: processes that it left behind, after five seconds.
    """

    status: int
    text: str
    changes: list[str]
    orphans: list[int]


class Processes:
    """Runs commands in forks of one process that has imported what they need."""

    def __init__(self, folder: Path) -> None:
        self.output, self.log = folder / "output.txt", folder / "changes.txt"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(HEAVY))

    def run(
        self, place: Path, words: tuple[str, ...], strike: Strike | None = None, temporary: Path | None = None
    ) -> Outcome:
        """Run a command in the folder ``place`` and strike it there; temporary files go to ``temporary``."""
        self.log.write_text("")
        arguments = (place, words, self.output, self.log, strike or Strike(), temporary or place.parent)
        process = self.context.Process(target=work, args=arguments)
        process.start()
        process.join(300)
        orphans = members(process.pid or 0)
        limit = time.monotonic() + 5
        while orphans and time.monotonic() < limit:
            time.sleep(0.05)
            orphans = members(process.pid or 0)
        status = process.exitcode
        assert status is not None, f"{words} hangs"
        return Outcome(status, self.output.read_text(), self.log.read_text().splitlines(), orphans)


def work(
    place: Path, words: tuple[str, ...], output: Path, log: Path, strike: Strike, temporary: Path
) -> None:
    """Run a command as ``python -m nuclei`` does, in a session of its own, which its children share."""
    from inject_fault import arm

    from nuclei.cli import main

    os.setsid()
    os.chdir(place)
    os.environ["TMPDIR"] = str(temporary)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    arm(place, log, strike.number, strike.fault, strike.match)
    sys.exit(main(list(words)))


def members(session: int) -> list[int]:
    """Return the processes of a session, but for those that have ended and wait to be noticed."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *numbers = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if state != "Z" and int(numbers[2]) == session:
            found.append(int(stat.parent.name))
    return found


def build(place: Path, processes: Processes) -> dict[str, int]:
    """Go the whole pipeline in an empty folder; return how many changes of files each command made."""
    project = Path(__file__).parents[3]
    wheels = place / "kernels/dataset/wheels"
    wheels.mkdir(parents=True)
    for line in (project / "kernels/dataset/wheels.txt").read_text().splitlines():
        if "==" in line and not line.startswith("#"):  # the bundle copies wheels without looking inside
            name, _, version = line.split(" ")[0].partition("==")
            (wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").write_bytes(line.encode())
    counts = {}
    for name, step in PIPELINE.items():
        outcome = processes.run(place, step.words)
        counts[name] = len(outcome.changes)
        assert outcome.status == 0, f"{name}: {outcome.text}"
        if name == "submission":
            spoil(place)
    return counts


@dataclass(frozen=True)
class Baseline:
    """The finished pipeline, digests of its files, what runs commands, and the changes that each makes."""

    finished: Path
    expected: dict[str, str]
    processes: Processes
    counts: dict[str, int]


def spoil(place: Path) -> None:
    """Write a submission with a repeated row, and a ledger of two submissions with scores."""
    from nuclei.kaggle.ledger import LedgerRow, write_row
    from nuclei.submission.make_submission import read_record

    text = (place / CSV).read_text()
    (place / "submissions/spoilt.csv").write_text(text + text.splitlines()[-1] + "\n")
    for n, score in enumerate(("0.41", "0.43")):
        row = LedgerRow.of_submission(place / CSV, read_record(place / CSV), f"try {n}")
        write_row(
            place / "submissions/ledger.csv", type(row)(**vars(row) | {"public": score, "status": "complete"})
        )


def before(finished: Path, place: Path, step: Step) -> None:
    """Make ``place`` what ``finished`` was before a command: the same files, but for those that it makes."""
    shutil.copytree(finished, place, copy_function=os.link)
    for name in step.makes:
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def digests(place: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, by path; times of the clock are left out of it."""
    return {
        str(path.relative_to(place)): hashlib.sha256(timeless(path)).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }


def timeless(path: Path) -> bytes:
    """Return the bytes of a file without the times that it holds.

    ``metrics.csv``, ``images.csv`` and ``done.json`` hold seconds. A checkpoint and ``predict.json`` hold the
    absolute path of a folder. ``environment.json`` names the commit, and somebody may commit meanwhile.
    """
    if path.name in ("metrics.csv", "images.csv"):
        rows = list(csv.DictReader(path.open()))
        return json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
    if path.name in ("done.json", "predict.json", "environment.json"):
        values = json.loads(path.read_text())
        for name in (
            "seconds",
            "commit",
            "changed",
            "checksum",
            "tables",
        ):  # the last two are hashes of these
            values.pop(name, None)
        values.get("settings", {}).pop("input", None)
        return json.dumps(values).encode()
    return b"" if path.name == "last.ckpt" else path.read_bytes()
