"""A run folder: its lock, the settings it was trained with, and its result."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nuclei.atomic import read_json, write_json
from nuclei.errors import UserError
from nuclei.paths import FoldFolder

DATA_CHANGES = {"folds": "another folds file", "store": "other images or annotations"}
Settings = Mapping[str, Any]
"""All settings of a training, resolved, as a tree of plain Python values."""


@dataclass(frozen=True)
class RunSettings:
    """What later stages need to know of the settings of a trained fold.

    Attributes:
        channels: names of the network's maps.
        network: the setting ``model.network``, from which the network is built.
        steps: the setting ``postprocess.steps``, from which the post-processing is built.
        folds_sha256: hash of the folds file.
        crops: training crops that the network has seen, all epochs together.
    """

    channels: tuple[str, ...]
    network: Settings
    steps: tuple[Settings, ...]
    folds_sha256: str
    crops: int


@dataclass(frozen=True)
class RunResult:
    """The result of a finished fold.

    Attributes:
        images: number of held-out images.
        mean_precision: their mean average precision; None where there are none.
        seconds: of training and prediction.
        tta: dihedral views averaged in predicting.
        diameter: in pixels, to which nuclei were rescaled; None for images as they are.
        scales: factors of the rescaling, which the views take in turn.
    """

    images: int
    mean_precision: float | None
    seconds: float
    tta: int
    diameter: float | None
    scales: tuple[float, ...]

    def predicted_with(self, tta: int, diameter: float | None, scales: tuple[float, ...]) -> bool:
        """Return whether the held-out images were predicted with these settings."""
        return (self.tta, self.diameter, self.scales) == (tta, diameter, scales)

    @property
    def summary(self) -> str:
        """The score as a phrase to print."""
        if self.mean_precision is None:
            return "no image held out"
        return f"out-of-fold mAP {self.mean_precision:.4f} on {self.images} images"


def is_first_process() -> bool:
    """Return whether this is the first, or only, one of the processes that train one network together.

    torchrun and Lightning number them in ``RANK``, or ``NODE_RANK`` and ``LOCAL_RANK``, srun in
    ``SLURM_PROCID``; the first has 0 in all.
    """
    names = ["RANK", "NODE_RANK", "LOCAL_RANK"] if os.environ.get("WORLD_SIZE", "1") != "1" else []
    names += ["SLURM_PROCID"] if os.environ.get("SLURM_NTASKS", "1") != "1" else []
    return all(os.environ.get(name, "0") == "0" for name in names)


@contextmanager
def locked(folder: FoldFolder) -> Iterator[None]:
    """Hold ``folder`` alone; the lock ends with the process, however it ends.

    Raises:
        UserError: another process has it.
    """
    lock = FileLock(folder.lock)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder} is in use by another run; wait for it, or choose name=OTHER") from None
    except OSError as e:
        raise UserError(
            f"cannot write {folder}: {e.strerror}; free some space or choose paths.runs=FOLDER"
        ) from e
    try:
        yield
    finally:
        lock.release()


def claim(folder: FoldFolder, settings: Settings, free: Sequence[str]) -> bool:
    """Write ``settings`` as the folder's config, or check that they are the ones it was begun with.

    The keys in ``free``, and all below them, may differ. Returns whether the folder was not begun yet.

    Raises:
        UserError: the folder was begun with other settings; the message names the first three.
    """
    begun = any(path.exists() for path in (folder.checkpoint, folder.weights, folder.result))
    if not (begun and folder.settings.exists()):
        write_json(folder.settings, settings)
        return True
    try:
        wanted, before = _flat(settings), _flat(read_json(folder.settings))
    except (OSError, ValueError) as e:
        raise _damaged(folder.settings, folder, f"-r {folder}") from e
    different = _different_keys(before, wanted, free)
    if data := [name for name in ("folds", "store") if f"{name}_sha256" in different]:
        raise UserError(
            f"{folder} was begun with {' and '.join(DATA_CHANGES[name] for name in data)}; "
            "choose name=OTHER, or delete it"
        )
    if different:
        shown = ", ".join(f"{key}={before.get(key)}" for key in different[:3])
        raise UserError(f"{folder} was begun with {shown}; use these, or choose name=OTHER, or delete it")
    return False


def different_settings(folder: FoldFolder, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings of a fold that differ from others, but for the paths of files: its own, the other.

    The others are without the hashes of folds file and store.
    """
    before, now = _flat(read_json(folder.settings)), _flat(settings)
    free = ("paths", "folds_sha256", "store_sha256", "recipe")  # the recipe's own settings are compared
    return {key: (before.get(key), now.get(key)) for key in _different_keys(before, now, free)}


def _different_keys(before: Settings, now: Settings, free: Sequence[str]) -> list[str]:
    """Return the keys of flat settings with other values, but for ``free`` ones and all below them."""
    prefixes = tuple(f"{key}." for key in free)
    keys = sorted(key for key in before.keys() | now.keys() if not f"{key}.".startswith(prefixes))
    return [key for key in keys if before.get(key) != now.get(key)]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def _damaged(path: Path, folder: FoldFolder, remove: str) -> UserError:
    """Return the error about a file; it names what to remove and the command that makes it anew."""
    return UserError(f"{path} is missing or damaged; make it anew: rm {remove}; {folder.train_command()}")


def read_settings(folder: FoldFolder) -> RunSettings:
    """Read the settings that ``claim`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        tree = read_json(folder.settings)
        model, steps = tree["model"], tree["postprocess"]["steps"]
        crops = tree["samples_per_epoch"] * tree["trainer"]["max_epochs"]
        return RunSettings(
            tuple(model["channels"]), model["network"], tuple(steps), tree["folds_sha256"], crops
        )
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise _damaged(folder.settings, folder, f"-r {folder}") from e


def recorded_recipe(folder: FoldFolder) -> str:
    """Return with which recipe a fold was trained, ``full`` or ``small``."""
    return str(read_json(folder.settings)["recipe"]).partition(":")[0]


def read_result(folder: FoldFolder) -> RunResult | None:
    """Read the result of a fold; None where it is not finished.

    Raises:
        UserError: the file is damaged.
    """
    return _result(folder)[0] if folder.result.exists() else None


def _result(folder: FoldFolder) -> tuple[RunResult, str | None]:
    """Read the result and the hash of the weights."""
    try:
        values = read_json(folder.result)
        sha256, precision = values.pop("weights_sha256"), values.pop("mAP")
        result = RunResult(mean_precision=precision, **values | {"scales": tuple(values["scales"])})
        return result, sha256
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise _damaged(folder.result, folder, str(folder.result)) from e


def checked_weights(folder: FoldFolder) -> Path:
    """Return the weights of a finished fold, whole by the hash that its result holds.

    Raises:
        UserError: the weights are missing or damaged.
    """
    if _weights_sha256(folder) != _result(folder)[1]:
        raise _damaged(folder.weights, folder, f"-f {folder.weights} {folder.result}")
    return folder.weights


def _weights_sha256(folder: FoldFolder) -> str | None:
    path = folder.weights  # Otsu has none
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def write_result(folder: FoldFolder, result: RunResult) -> None:
    """Mark the fold as finished, with its figures and the hash of its weights; a training's last file."""
    values = asdict(result)
    first = {"images": values.pop("images"), "mAP": values.pop("mean_precision")}
    write_json(folder.result, first | values | {"weights_sha256": _weights_sha256(folder)})
