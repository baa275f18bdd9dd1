"""A run folder: its lock, the settings it was trained with, and its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from filelock import FileLock, Timeout

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.paths import FoldFolder

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
        mean_precision: mean average precision of the held-out images; None where there are none.
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


def claim(folder: FoldFolder, settings: Settings, free: Sequence[str]) -> None:
    """Write ``settings`` as the folder's config, or check that they are the ones it was begun with.

    Args:
        folder: of the fold.
        settings: all of them, resolved.
        free: keys that may differ, with all below them.

    Raises:
        UserError: the folder was begun with other settings; the message names the first three.
    """
    begun = any(path.exists() for path in (folder.checkpoint, folder.weights, folder.result))
    if not (begun and folder.settings.exists()):
        with atomic_write(folder.settings) as part:
            part.write_text(json.dumps(settings, indent=2) + "\n")
        return
    wanted, before = _flat(settings), _flat(json.loads(folder.settings.read_text()))
    prefixes = tuple(f"{key}." for key in free)
    keys = sorted(key for key in before.keys() | wanted.keys() if not f"{key}.".startswith(prefixes))
    if different := [key for key in keys if before.get(key) != wanted.get(key)]:
        shown = ", ".join(f"{key}={before.get(key)}" for key in different[:3])
        raise UserError(f"{folder} was begun with {shown}; use these, or choose name=OTHER, or delete it")


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def read_settings(folder: FoldFolder) -> RunSettings:
    """Read the settings that ``claim`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        tree = json.loads(folder.settings.read_text())
        model, steps = tree["model"], tree["postprocess"]["steps"]
        crops = tree["samples_per_epoch"] * tree["trainer"]["max_epochs"]
        return RunSettings(
            tuple(model["channels"]), model["network"], tuple(steps), tree["folds_sha256"], crops
        )
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"{folder.settings} is missing or damaged; delete {folder} and train it again") from e


def read_result(folder: FoldFolder) -> RunResult | None:
    """Read the result of a fold; None where it is not finished.

    Raises:
        UserError: the file is damaged.
    """
    if not folder.result.exists():
        return None
    try:
        values = json.loads(folder.result.read_text())
        precision, scales = values.pop("mAP"), tuple(values.pop("scales"))
        return RunResult(mean_precision=precision, scales=scales, **values)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{folder.result} is damaged; delete it and train again") from e


def write_result(folder: FoldFolder, result: RunResult) -> None:
    """Mark the fold as finished, with its figures; the last file that a training writes."""
    values = asdict(result)
    values = {"images": values.pop("images"), "mAP": values.pop("mean_precision"), **values}
    with atomic_write(folder.result) as part:
        part.write_text(json.dumps(values, indent=2) + "\n")
