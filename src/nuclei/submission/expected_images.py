"""The test images that a submission must have, and their sizes: from the store, a solution, or the sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nuclei.data.store import StoreRow, read_index
from nuclei.errors import UserError
from nuclei.submission.csv_files import read_solution, read_submission


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
    """Return the test images that a submission must have.

    Args:
        store: the data set's store; its index has the sizes.
        root: the folder with the competition's files; its sample submission has ImageIds only.
        solution: a solution file, which goes before both.

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
