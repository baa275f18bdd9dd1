"""``./run.sh validate submission=PATH``: the competition's rules, all violations at once."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from nuclei.errors import UserError
from nuclei.submission.encode import read_submission
from nuclei.submission.known import expected_images
from nuclei.submission.validate import validate


def main(cfg: DictConfig) -> None:
    """Print a verdict, or a line for each violation.

    Raises:
        UserError: there are violations.
    """
    path = cfg.submission
    if not path:
        raise UserError("which submission? say submission=submissions/NAME.csv")
    shapes, source = expected_images(cfg.data.store, cfg.data.root, cfg.solution)
    violations = validate(path, shapes)
    for violation in violations:
        print(violation)
    if violations:
        raise UserError(f"{path} is not valid: {len(violations)} violations, see above; images from {source}")
    images = read_submission(path)
    rows = sum(max(1, len(found)) for found in images.values())
    unknown = f" (no sizes in {source}, so the ends of runs are unchecked)" if None in shapes.values() else ""
    print(f"valid: {rows} rows, {len(images)} images{unknown}; next: ./run.sh {after(cfg)}")


def after(cfg: DictConfig) -> str:
    """Return the next command: a score where the truth is at hand, else the leaderboard."""
    if (Path(cfg.data.root) / "stage1_solution.csv").is_file():
        return f"score submission={cfg.submission} data={cfg.data.name}"
    return f"submit submission={cfg.submission}"
