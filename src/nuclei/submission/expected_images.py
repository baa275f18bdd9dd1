"""Which test images there are, and of what size: from the store, a solution, or the sample submission."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from nuclei.data.store import StoreRow, read_index
from nuclei.errors import UserError
from nuclei.submission.csv_files import read_solution

Shapes = dict[str, tuple[int, int] | None]


def expected_images(
    store: str | Path, root: str | Path, solution: str | Path | None = None
) -> tuple[Shapes, str]:
    """Return the (height, width) of each test image, None where it is not known, and the file that says so.

    Args:
        store: the data set's store; its index has the sizes.
        root: the folder with the competition's files; its sample submission has ImageIds only.
        solution: a solution file, which goes before both.

    Raises:
        UserError: there is none of them, or the first of them is damaged.
    """
    if solution:
        return {image_id: shape for image_id, (shape, _) in read_solution(solution).items()}, str(solution)
    rows = [row for row in index_or_nothing(store) if row.split == "test"]
    if rows:
        return {row.image_id: (row.height, row.width) for row in rows}, str(store)
    for name in ("stage1_sample_submission.csv", "stage1_sample_submission.csv.zip"):
        sample = Path(root) / name
        if sample.is_file():
            return dict.fromkeys(_sample(sample)), str(sample)
    raise UserError(
        f"which images are expected? there is no store {store} and no sample submission in {root}; "
        "run ./run.sh prepare, or give solution=PATH"
    )


def index_or_nothing(store: str | Path) -> list[StoreRow]:
    """Return the index of a store; no rows where there is no store."""
    return read_index(store) if Path(store).is_file() else []


def _sample(path: Path) -> list[str]:
    """Return the ImageIds of a sample submission, zipped or not."""
    try:
        data = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as z:
                data = z.read(path.stem)
        return [line.split(",")[0] for line in data.decode("utf-8-sig").splitlines()[1:] if line]
    except (OSError, zipfile.BadZipFile, KeyError, UnicodeDecodeError) as e:
        raise UserError(f"{path} is damaged; download it again") from e
