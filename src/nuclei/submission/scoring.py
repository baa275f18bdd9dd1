"""Score a submission against a solution."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nuclei.errors import UserError
from nuclei.metrics import confusion
from nuclei.progress import track
from nuclei.submission import rle
from nuclei.submission.csv_files import read_solution, read_submission
from nuclei.submission.rules import validate


def compare(submission: str | Path, solution: str | Path) -> dict[str, np.ndarray]:
    """Return for each image of the solution what ``nuclei.metrics.confusion`` gives.

    Raises:
        UserError: a file cannot be read, or the submission breaks the rules or lacks images.
    """
    truth = read_solution(solution)
    if not truth:
        raise UserError(f"{solution} has no images")
    rows = read_submission(submission)
    if missing := [image_id for image_id in truth if image_id not in rows]:
        raise UserError(
            f"{submission} lacks {len(missing)} of the {len(truth)} images in {solution}, first "
            f"{missing[0]}; are the two of one data set?"
        )
    if broken := validate(submission, {image_id: shape for image_id, (shape, _) in truth.items()}):
        raise UserError(
            f"{submission} breaks the rules {len(broken)} times, first {broken[0]}; "
            f"./run.sh validate submission={submission} solution={solution} lists them all"
        )
    counts = {}
    for image_id, (shape, true_rows) in track(truth.items(), "score", len(truth)):
        prediction = rle.decode(rows[image_id], shape)
        try:
            counts[image_id] = confusion(rle.decode(true_rows, shape, allow_overlap=True), prediction)
        except UserError as e:
            raise UserError(f"{solution}, image {image_id}: {e}") from e
    return counts
