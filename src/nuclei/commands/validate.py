"""``./run.sh validate submission=PATH [--fix]``: the competition's rules, all violations at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from nuclei.atomic import atomic_write
from nuclei.call import Call
from nuclei.errors import UserError
from nuclei.submission.csv_files import read_submission
from nuclei.submission.expected_images import expected_images
from nuclei.submission.fix import mend
from nuclei.submission.rules import validate


def main(cfg: DictConfig, call: Call) -> None:
    """Print a verdict, or a line for each violation.

    Raises:
        UserError: there are violations.
    """
    path = cfg.submission
    if not path:
        raise UserError("which submission? say submission=submissions/NAME.csv")
    shapes, source = expected_images(cfg.data.store, cfg.data.root, cfg.solution)
    violations = validate(path, shapes)
    if cfg.fix and violations:
        path = fixed(Path(path), shapes)
        before, violations = len(violations), validate(path, shapes)
        print(f"mended {before - len(violations)} of {before} violations; wrote {path}")
    for violation in violations:
        print(violation)
    if violations:
        raise UserError(f"{path} is not valid: {len(violations)} violations, see above; images from {source}")
    images = read_submission(path)
    rows = sum(max(1, len(found)) for found in images.values())
    unknown = f" (no sizes in {source}, so the ends of runs are unchecked)" if None in shapes.values() else ""
    print(f"valid: {rows} rows, {len(images)} images{unknown}; next: ./run.sh {after(cfg, path)}")


def fixed(path: Path, images: Iterable[str]) -> Path:
    """Write a mended copy beside the file, and return its path."""
    copy = path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + "_fixed.csv")
    with atomic_write(copy) as part:
        part.write_bytes(mend(path.read_bytes(), images))
    return copy


def after(cfg: DictConfig, path: str | Path) -> str:
    """Return the next command: a score where the truth is at hand, else the leaderboard."""
    if (Path(cfg.data.root) / "stage1_solution.csv").is_file():
        return f"score submission={path} data={cfg.data.name}"
    return f"submit submission={path}"
