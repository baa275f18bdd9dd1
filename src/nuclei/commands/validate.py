"""``./run.sh validate submission=PATH [--fix]``: the competition's rules, all violations at once."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from nuclei.config import Call
from nuclei.errors import UserError
from nuclei.submission.csv_files import read_submission
from nuclei.submission.fix import write_fixed
from nuclei.submission.rules import find_violations
from nuclei.submission.solution import expected_images


def main(cfg: DictConfig, call: Call) -> None:
    """Print a verdict, or a line for each violation.

    Raises:
        UserError: there are violations.
    """
    if not cfg.submission:
        raise UserError("which submission? say submission=submissions/NAME.csv")
    path, images = Path(cfg.submission), expected_images(cfg.data.store, cfg.data.root, cfg.solution)
    violations = find_violations(path, images.shapes)
    if cfg.fix and violations:
        path = write_fixed(path, images.shapes)
        n_before, violations = len(violations), find_violations(path, images.shapes)
        print(f"fixed {n_before - len(violations)} of {n_before} violations; wrote {path}")
    for violation in violations:
        print(violation)
    if violations:
        raise UserError(
            f"{path} is not valid: {len(violations)} violations, see above; images from {images.source}"
        )
    submitted = read_submission(path)
    n_rows = sum(max(1, len(runs)) for runs in submitted.values())
    unbounded = None in images.shapes.values()
    note = f" (no sizes in {images.source}, so the ends of runs are unchecked)" if unbounded else ""
    scorable = (Path(cfg.data.root) / "stage1_solution.csv").is_file()
    after = f"score submission={path} data={cfg.data.name}" if scorable else f"submit submission={path}"
    print(f"valid: {n_rows} rows, {len(submitted)} images{note}; next: ./run.sh {after}")
