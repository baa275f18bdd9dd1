"""Where each stage reads and writes: pure functions of the names in the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nuclei.errors import UserError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
"""The folder of the project, where the package lies in a checkout."""
IN_CHECKOUT = (ROOT / "run.sh").is_file()
"""Whether the package lies in a checkout of the repository, and is not installed."""
PARENT = "NUCLEI_PARENT"
"""The variable of the environment that holds the number of the process with which a command is to end."""
PROGRAM = "./run.sh" if IN_CHECKOUT else "nuclei"
"""What a user types to run a command: the script of a checkout, or that of an installed package."""


def shipped(name: str) -> Path:
    """Return a file or folder of the project: in the package if it is there, else in the checkout.

    >>> shipped("configs").name
    'configs'
    """
    inside = PACKAGE / name
    return inside if inside.exists() else ROOT / name


def default_model() -> Path:
    """Return the model file that ``predict`` and ``app`` use where no other is named."""
    return shipped("weights/nuclei.safetensors")


def model_path(word: str) -> Path | None:
    """Return the model file that a setting names: ``box`` or a ``.safetensors`` file; else None."""
    if word == "box":
        return default_model()
    return Path(word) if word.endswith(".safetensors") else None


def check_name(name: str, setting: str) -> None:
    """Refuse what cannot name a file or folder of its own.

    Raises:
        UserError: it is empty, hidden, or has folders in it.
    """
    if not name or name.startswith(".") or "/" in name:
        raise UserError(f"{setting}={name}: expected a name without / that begins with no dot")


@dataclass(frozen=True, order=True)
class RunName:
    """The name of a run, ``MODEL/NAME``: all folds of one model trained with one set of settings.

    Raises:
        UserError: a part of it cannot name a folder.
    """

    model: str
    name: str

    def __post_init__(self) -> None:
        check_name(self.model, "model.name")
        check_name(self.name, "name")

    @classmethod
    def parse(cls, text: str, setting: str = "run") -> RunName:
        """Split ``MODEL/NAME``.

        Raises:
            UserError: the text is of another form; the message names ``setting``.

        >>> RunName.parse("unet/default")
        RunName(model='unet', name='default')
        """
        parts = str(text).split("/")
        if len(parts) != 2 or not all(parts):
            raise UserError(f"{setting}={text}: expected MODEL/NAME, for example {setting}=unet/default")
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.model}/{self.name}"


def train_command(run: Path, folds: Sequence[int | str]) -> str:
    """Return the command that trains folds of the run ``.../<data>/<model>/<name>``.

    >>> train_command(Path("runs/dsb2018/unet/default"), [1, 3])
    './run.sh -m data=dsb2018 model=unet name=default fold=1,3'
    """
    data, model, name = run.parts[-3:]
    sweep = "-m " if len(folds) > 1 else ""
    return f"{PROGRAM} {sweep}data={data} model={model} name={name} fold={','.join(map(str, folds))}"


@dataclass(frozen=True)
class FoldFolder:
    """The files of one trained fold, ``runs/DATA/MODEL/NAME/fold0``."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def settings(self) -> Path:
        """The settings that the fold was trained with."""
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        """The packages, code and data that the training was begun with."""
        return self.path / "environment.json"

    @property
    def result(self) -> Path:
        """The result, written last: the fold is finished."""
        return self.path / "done.json"

    def train_command(self) -> str:
        """Return the command that trains the fold, without the settings of its recipe."""
        return train_command(self.path.absolute().parent, [self.path.name.removeprefix("fold")])

    @property
    def checkpoint(self) -> Path:
        """Lightning's last checkpoint, from which a killed training goes on."""
        return self.path / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The averaged weights of the finished training."""
        return self.path / "model.safetensors"

    @property
    def maps(self) -> Path:
        """The out-of-fold maps: those of the held-out images."""
        return self.path / "oof.npz"

    @property
    def metrics(self) -> Path:
        """The table of losses and scores by epoch."""
        return self.path / "metrics.csv"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains the fold."""
        return self.path / ".lock"


@dataclass(frozen=True)
class Folders:
    """The folders of the stages, and the files that are of no one data set."""

    runs: Path
    ensembles: Path
    submissions: Path
    kernels: Path
    reports: Path

    def submission(self, name: str) -> Path:
        """Return the CSV of a submission; ``ledger`` is the name of another table."""
        check_name(name, "name")
        if name == "ledger":
            raise UserError("name=ledger: the ledger of submissions has this name; choose another one")
        return self.submissions / f"{name}.csv"

    @property
    def logs(self) -> Path:
        """The folder of what the runs of a sweep say that are started side by side."""
        return self.runs / "logs"

    @property
    def ledger(self) -> Path:
        """The table of what was submitted, with its leaderboard scores."""
        return self.submissions / "ledger.csv"

    @property
    def bundle(self) -> Path:
        """The zip that becomes a Kaggle dataset."""
        return self.kernels / "dataset" / "nuclei.zip"


@dataclass(frozen=True)
class Paths(Folders):
    """Every folder and file of the stages, for one data set.

    Attributes:
        root: folder with the competition's files.
        store: the prepared images and labels.
        folds: the table of folds.
    """

    data: str
    root: Path
    store: Path
    folds: Path

    @property
    def data_runs(self) -> Path:
        """The folder of the data set's runs."""
        return self.runs / self.data

    def run(self, run: RunName) -> Path:
        """Return the folder that holds the folds of a run."""
        return self.data_runs / run.model / run.name

    def fold(self, run: RunName, fold: int | str) -> FoldFolder:
        """Return the folder of one fold of a run; ``all`` is the training on every image."""
        return FoldFolder(self.run(run) / f"fold{fold}")

    def ensemble(self, name: str) -> Path:
        """Return the ensemble file."""
        return self.ensembles / self.data / name / "ensemble.yaml"

    def scores(self, name: str) -> Path:
        """Return the table of an ensemble's scores."""
        return self.ensemble(name).with_name("scores.csv")

    def report(self, name: str) -> Path:
        """Return the HTML report of a run or an ensemble."""
        return self.reports / self.data / f"{name.replace('/', '_')}.html"
