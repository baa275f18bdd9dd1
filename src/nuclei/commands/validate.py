"""``./run.sh validate submission=PATH [--fix]``: the competition's rules, all violations at once."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from nuclei.config import Call
from nuclei.errors import UserError
from nuclei.paths import PROGRAM
from nuclei.submission.csv_files import expected_images, fix_submission, read_submission, unpack, write_fixed
from nuclei.submission.rules import check_submission, looks_row_major, read_bytes


def main(cfg: DictConfig, call: Call) -> None:
    """Print a verdict, or a line for each violation.

    Raises:
        UserError: there are violations.
    """
    if not cfg.submission:
        raise UserError("which submission? say submission=submissions/NAME.csv")
    path, images = Path(cfg.submission), expected_images(cfg.data.store, cfg.data.root, cfg.solution)
    data = read_bytes(path)
    violations = check_submission(data, images.shapes)
    if cfg.fix and violations:
        if (text := unpack(data)) != data:  # what is packed hides the other violations
            violations += check_submission(text, images.shapes)
        fixed = fix_submission(text, images.shapes)
        left = check_submission(fixed, images.shapes)
        if n_fixed := len(violations) - len(left):
            path = write_fixed(path, fixed)
            print(f"fixed {n_fixed} of {len(violations)} violations; wrote {path}")
            violations = left
        else:
            print(f"fixed none of {len(violations)} violations, as none has one right answer")
    for violation in violations:
        print(violation)
    if violations:
        raise UserError(
            f"{path} is not valid: {len(violations)} violations, see above; images from {images.source}"
        )
    submitted = read_submission(path)
    if looks_row_major(submitted, images.shapes):
        print(
            "warning: the runs of most nuclei seem to go along rows; Kaggle's go down columns: encode mask.T",
            file=sys.stderr,
        )
    n_rows = sum(max(1, len(runs)) for runs in submitted.values())
    unbounded = None in images.shapes.values()
    note = f" (no sizes in {images.source}, so the ends of runs are unchecked)" if unbounded else ""
    scorable = (Path(cfg.data.root) / "stage1_solution.csv").is_file()
    after = f"score submission={path} data={cfg.data.name}" if scorable else f"submit submission={path}"
    print(f"valid: {n_rows} rows, {len(submitted)} images{note}; next: {PROGRAM} {after}")
