"""Score a submission against a solution."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nuclei.errors import UserError
from nuclei.metrics import confusion
from nuclei.progress import track
from nuclei.submission import rle
from nuclei.submission.csv_files import read_solution, read_submission
from nuclei.submission.rules import find_violations


def check_solution(solution: str, data: str) -> None:
    """Refuse a solution that is not there, with advice for the data set."""
    if Path(solution).is_file():
        return
    advice = f"run ./run.sh prepare data={data}, or give solution=PATH"
    if data == "dsb2018":
        advice = (
            "the truth of the test images is not among the competition's data; "
            "score out-of-fold maps instead: ./run.sh score run=unet/default"
        )
    raise UserError(f"no solution at {solution}: {advice}")


def compare_with_solution(submission: str | Path, solution: str | Path) -> dict[str, np.ndarray]:
    """Return for each image of the solution what ``nuclei.metrics.confusion`` gives.

    Raises:
        UserError: a file cannot be read, or the submission breaks the rules or lacks images.
    """
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
    counts = {}
    for image_id, (shape, true_runs) in track(true_images.items(), "score", len(true_images)):
        prediction = rle.decode(predicted_runs[image_id], shape)
        try:
            counts[image_id] = confusion(rle.decode(true_runs, shape, allow_overlap=True), prediction)
        except UserError as e:
            raise UserError(f"{solution}, image {image_id}: {e}") from e
    return counts
