"""How a submission is made: the test images are predicted one by one, and a record is left beside the CSV.

A time limit is kept by averaging fewer views of the images that are left.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nuclei.atomic import read_json, write_json
from nuclei.ensemble.ensemble_file import EnsembleFile
from nuclei.errors import UserError
from nuclei.progress import track
from nuclei.submission.csv_files import is_plain, write_submission
from nuclei.submission.rules import find_violations
from nuclei.training.environment import code_state

if TYPE_CHECKING:
    from nuclei.inference.segmenter import Segmenter


@dataclass(frozen=True)
class SubmissionRecord:
    """How a submission was made; each value is text, empty where nothing is known.

    ``dirty`` is ``yes`` where the code differed from its commit, else ``no``; members and weights have spaces
    between them; ``oof_tuned`` is the score on the images that the ensemble was tuned on.
    """

    commit: str = ""
    dirty: str = ""
    command: str = ""
    members: str = ""
    weights: str = ""
    postprocess: str = ""
    oof_nested: str = ""
    oof_tuned: str = ""


def describe_ensemble(ensemble: EnsembleFile, command: str, root: Path) -> SubmissionRecord:
    """Return the record of a submission that an ensemble makes; ``root`` is the folder of the project."""
    commit, dirty = code_state(root)
    return SubmissionRecord(
        commit=commit,
        dirty=dirty,
        command=command,
        members=" ".join(str(member.run) for member in ensemble.weighted),
        weights=" ".join(f"{member.weight:g}" for member in ensemble.weighted),
        postprocess=" ".join(map(_describe_step, ensemble.steps)),
        oof_nested=str(ensemble.nested),
        oof_tuned=str(ensemble.tuned_on_all),
    )


def _describe_step(step: Mapping[str, Any]) -> str:
    settings = {name: value for name, value in step.items() if name != "_target_"}
    if trees := settings.get("trees"):
        settings["trees"] = hashlib.sha256(trees.encode()).hexdigest()[:12]
    values = ",".join(f"{name}={value}" for name, value in settings.items())
    return f"{step['_target_'].rpartition('.')[2]}({values})"


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_record(submission: Path, record: SubmissionRecord) -> None:
    """Write a record beside the submission, with the sha256 that ties it to the file as it is now."""
    write_json(submission.with_suffix(".json"), {"sha256": sha256_of(submission), **asdict(record)})


def read_record(submission: Path) -> SubmissionRecord | None:
    """Return how these very bytes were made, None where nothing is known; refuse a damaged record."""
    path = submission.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        sha256 = values.pop("sha256")
        record = SubmissionRecord(**{name: str(values[name]) for name in asdict(SubmissionRecord())})
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path} is damaged ({e}); delete it, or run ./run.sh submission again") from e
    return record if sha256 == sha256_of(submission) else None


ReadImage = Callable[[], np.ndarray | None]
"""Returns an image, or None where its file cannot be read."""
NO_NUCLEI = np.zeros((1, 1), np.int32)


def test_images(folder: Path | None, store: Path) -> dict[str, ReadImage]:
    """Return how to read each test image in the competition's files, or in the store without a ``folder``.

    Raises:
        UserError: the store has none, or an ImageId cannot stand in a submission.
    """
    from nuclei.data.sources.dsb2018 import find_test_images, read_or_warn
    from nuclei.data.store import Store

    images: dict[str, ReadImage]
    if folder is not None:
        images = {item.image_id: partial(read_or_warn, item) for item in find_test_images(folder)}
    else:
        stored = Store(store)
        images = {image_id: partial(stored.image, image_id) for image_id in stored.ids("test")}
        if not images:
            raise UserError(
                f"{store} has no test images to predict; for a model file train fold=all, then export"
            )
    if wrong := [image_id for image_id in images if not is_plain(image_id)]:
        raise UserError(
            f"{folder / 'stage1_test' if folder else store}: the ImageId {wrong[0]!r} is no word without "
            "commas and quotes, or a spreadsheet's formula; rename it"
        )
    return images


def predict_submission(
    path: Path, images: Mapping[str, ReadImage], segment: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, int]:
    """Write the nuclei of all images as the competition's CSV; return the numbers of rows and of nuclei.

    An image that cannot be read gets no nuclei; ``segment`` returns labels, int32 (H, W). A file that breaks
    a rule of the competition is an error.
    """
    shapes: dict[str, tuple[int, int] | None] = {}
    n_nuclei = 0

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal n_nuclei
        for image_id, read in track(images.items(), "submission", len(images)):
            image = read()
            shapes[image_id] = None if image is None else (image.shape[0], image.shape[1])
            labels = NO_NUCLEI if image is None else segment(image)
            n_nuclei += int(labels.max(initial=0))
            yield image_id, labels

    n_rows = write_submission(path, rows())
    if violations := find_violations(path, shapes):
        number = len(violations)
        raise UserError(f"{path} is not valid: {violations[0]} ({number} violations); please report this")
    return n_rows, n_nuclei


SECOND_STAGE = 3000
"""Number of test images of the competition's second stage."""
MARGIN = 1.1
"""Images differ in size, so those that are left may take longer than those that are done."""


@dataclass
class TimeBudget:
    """Segments images one after another, each with as many views as the time that is left allows.

    Attributes:
        segmenter: with all the views that are wanted.
        total: number of images.
        limit: seconds for all of them; None for no limit.
        clock: seconds, from any beginning.
        done: number of images so far.
        shortened: number of images so far that had fewer views than wanted.
        spent: seconds so far.
    """

    segmenter: Segmenter
    total: int
    limit: float | None = None
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    shortened: int = 0
    spent: float = 0.0
    _passes: int = 0
    _limited: Callable[[int], Segmenter] = field(init=False)

    def __post_init__(self) -> None:
        self._limited = cache(lambda views: limit_views(self.segmenter, views))

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Return labels ``int32 (H, W)`` of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        begin, views = self.clock(), self.views()
        segmenter = self._limited(views)
        labels = segmenter.labels(segmenter.maps(image))
        self.done += 1
        self.shortened += views < self.most_views
        self.spent += self.clock() - begin
        self._passes += passes(segmenter)
        return labels

    @property
    def most_views(self) -> int:
        """The most views that any network averages."""
        return max(member.tta for member in self.segmenter.networks)

    def views(self) -> int:
        """Return the most views with which the images that are left are done in time; at least 1."""
        if self.limit is None or not self._passes:
            return self.most_views
        seconds = MARGIN * self.spent / self._passes * (self.total - self.done)
        left = self.limit - self.spent
        choices = range(1, self.most_views + 1)
        return max((n for n in choices if seconds * passes(self._limited(n)) <= left), default=1)

    def report(self) -> str:
        """Return how quick the segmentation was, and how long ``SECOND_STAGE`` images would take."""
        if not self.done or not self.spent:
            return "no images"
        rate = self.done / self.spent
        cut = f"; {self.shortened} images with fewer views, to keep the time limit" if self.shortened else ""
        return f"{rate:.2f} images per second, {SECOND_STAGE:,} would take {SECOND_STAGE / rate:,.0f} s{cut}"


def limit_views(segmenter: Segmenter, views: int) -> Segmenter:
    """Return a segmenter whose networks average at most ``views`` views."""
    networks = [replace(member, tta=min(member.tta, views)) for member in segmenter.networks]
    return replace(segmenter, networks=networks)


def passes(segmenter: Segmenter) -> int:
    """Return how often networks run for one image: two passes that estimate its zoom, then each view."""
    return sum(member.tta + 2 * (member.diameter is not None) for member in segmenter.networks)


def peak_gigabytes() -> float:
    """Return the most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
