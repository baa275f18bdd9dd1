"""``./run.sh ledger``: what was sent, and how well out-of-fold scores predict the leaderboard."""

from __future__ import annotations

from omegaconf import DictConfig

from nuclei.build import build_folders
from nuclei.config import Call
from nuclei.kaggle.ledger import describe_correlation, draw_scores, format_table, read_ledger, scored_points
from nuclei.paths import PROGRAM


def main(cfg: DictConfig, call: Call) -> None:
    """Print the table and the correlations; draw the scatter where there is something to draw."""
    path = build_folders(cfg).ledger
    rows = read_ledger(path)
    if not rows:
        print(f"nothing was sent yet ({path} has no rows); next: {PROGRAM} submit")
        return
    print(format_table(rows))
    boards = scored_points(rows)
    for board, points in boards.items():
        print(describe_correlation(board, points))
    if any(boards.values()):
        draw_scores(path.with_suffix(".png"), boards)
        print(f"wrote {path.with_suffix('.png')}")
