"""What a submission is compared with: the images that it must have, and the solution that scores it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.data.store import StoreRow, read_index
from nuclei.errors import UserError
from nuclei.progress import track
from nuclei.submission import rle
from nuclei.submission.csv_files import read_ignored, read_solution, read_submission
from nuclei.submission.rules import find_violations


@dataclass(frozen=True)
class ExpectedImages:
    """The test images that a submission must have.

    Attributes:
        shapes: (height, width) of each image, None where the size is not known.
        source: the file that names the images.
    """

    shapes: Mapping[str, tuple[int, int] | None]
    source: str


def expected_images(
    store: str | Path, root: str | Path, solution: str | Path | None = None
) -> ExpectedImages:
    """Return the test images that a submission must have: of the solution, the store, or the sample.

    The sample submission, among the competition's files in ``root``, has no sizes.

    Raises:
        UserError: there is none of the three, or the first of them is damaged.
    """
    if solution:
        shapes = {image_id: shape for image_id, (shape, _) in read_solution(solution).items()}
        return ExpectedImages(shapes, str(solution))
    rows = [row for row in index_or_nothing(store) if row.split == "test"]
    if rows:
        return ExpectedImages({row.image_id: (row.height, row.width) for row in rows}, str(store))
    for name in ("stage1_sample_submission.csv", "stage1_sample_submission.csv.zip"):
        sample = Path(root) / name
        if sample.is_file():
            return ExpectedImages(dict.fromkeys(read_submission(sample)), str(sample))
    raise UserError(
        f"which images are expected? there is no store {store} and no sample submission in {root}; "
        "run ./run.sh prepare, or give solution=PATH"
    )


def index_or_nothing(store: str | Path) -> list[StoreRow]:
    """Return the index of a store; no rows where there is no store."""
    return read_index(store) if Path(store).is_file() else []


def check_solution(solution: str | None, data: str) -> None:
    """Refuse a solution that is not there, with advice for the data set."""
    if solution and Path(solution).is_file():
        return
    advice = f"run ./run.sh prepare data={data}, or give solution=PATH"
    if data == "dsb2018":
        advice = (
            "the truth of the test images is not among the competition's data; "
            "score out-of-fold maps instead: ./run.sh score run=unet/default"
        )
    raise UserError(f"no solution at {solution}: {advice}")


def compare_with_solution(submission: str | Path, solution: str | Path) -> dict[str, np.ndarray]:
    """Return for each image of the solution that counts what ``nuclei.metrics.confusion`` gives.

    Raises:
        UserError: a file cannot be read, or the submission breaks the rules or lacks images.
    """
    from nuclei.metrics import confusion  # starts slowly, and ``validate`` needs the images alone

    true_images = read_solution(solution)
    if not true_images:
        raise UserError(f"{solution} has no images")
    predicted_runs = read_submission(submission)
    if missing := [image_id for image_id in true_images if image_id not in predicted_runs]:
        raise UserError(
            f"{submission} lacks {len(missing)} of the {len(true_images)} images in {solution}, first "
            f"{missing[0]}; are the two of one data set?"
        )
    shapes = {image_id: shape for image_id, (shape, _) in true_images.items()}
    if violations := find_violations(submission, shapes):
        raise UserError(
            f"{submission} breaks the rules {len(violations)} times, first {violations[0]}; "
            f"./run.sh validate submission={submission} solution={solution} lists them all"
        )
    ignored = read_ignored(solution) & true_images.keys()
    if ignored:
        print(f"{len(ignored)} images are marked as ignored in {solution} and not scored", file=sys.stderr)
    scored = {image_id: image for image_id, image in true_images.items() if image_id not in ignored}
    if not scored:
        raise UserError(f"{solution} has no image that is not ignored")
    counts = {}
    for image_id, (shape, true_runs) in track(scored.items(), "score", len(scored)):
        prediction = rle.decode(predicted_runs[image_id], shape)
        try:
            counts[image_id] = confusion(rle.decode(true_runs, shape, allow_overlap=True), prediction)
        except UserError as e:
            raise UserError(f"{solution}, image {image_id}: {e}") from e
    return counts
