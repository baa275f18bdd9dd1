"""``./run.sh ledger``: what was sent, and how far out-of-fold scores foretell the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from nuclei.atomic import atomic_write
from nuclei.call import Call
from nuclei.kaggle import ledger

SHOWN = ("date", "file", "commit", "members", "oof_nested", "oof_tuned", "public", "private", "message")
WIDEST = 40
Pairs = list[tuple[float, float]]


def main(cfg: DictConfig, call: Call) -> None:
    """Print the table and the correlations; draw the scatter where there is something to draw."""
    folder = Path(cfg.paths.submissions)
    rows = ledger.read(folder / "ledger.csv")
    if not rows:
        print(f"nothing was sent yet ({folder / 'ledger.csv'} has no rows); next: ./run.sh submit")
        return
    print("\n".join(table(rows)))
    scored = {board: pairs(rows, "oof_nested", board) for board in ("public", "private")}
    for board, points in scored.items():
        print(correlation(board, points))
    if any(scored.values()):
        draw(folder / "ledger.png", scored)
        print(f"wrote {folder / 'ledger.png'}")


def table(rows: Sequence[ledger.Row]) -> list[str]:
    """Lay the rows out as lines of equal columns.

    >>> row = dict.fromkeys(ledger.COLUMNS, "") | {"commit": "0123456789", "dirty": "yes", "public": "0.5"}
    >>> print(*(line.rstrip() for line in table([row])), sep="\\n")
    date  file  commit     members  oof_nested  oof_tuned  public  private  message
                01234567+                                  0.5
    """
    cells = [SHOWN, *([_cell(row, name) for name in SHOWN] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) for line in cells]


def _cell(row: ledger.Row, name: str) -> str:
    """A value short enough for a table: a commit's beginning, with + where the code differed from it."""
    value = " ".join(row[name].split())
    if name == "commit":
        return value[:8] + ("+" if row["dirty"] == "yes" else "")
    return value if len(value) <= WIDEST else value[: WIDEST - 1] + "…"


def pairs(rows: Sequence[ledger.Row], one: str, other: str) -> Pairs:
    """Return two columns of all rows that have both.

    >>> pairs([{"a": "0.5", "b": "0.4"}, {"a": "", "b": "0.3"}], "a", "b")
    [(0.5, 0.4)]
    """
    return [(float(row[one]), float(row[other])) for row in rows if row[one] and row[other]]


def correlation(board: str, points: Pairs) -> str:
    """Say in one line how the two scores go together.

    >>> correlation("public", [(0.1, 0.2), (0.2, 0.3), (0.3, 0.1)])
    'out-of-fold (nested) and public score: Pearson -0.50, Spearman -0.50, 3 submissions'
    """
    from scipy.stats import pearsonr, spearmanr

    name = f"out-of-fold (nested) and {board} score"
    if len(points) < 3 or any(len(set(axis)) == 1 for axis in zip(*points, strict=True)):
        return f"{name}: {len(points)} submissions have both; a correlation needs three that differ"
    pearson, spearman = (test(*zip(*points, strict=True)).statistic for test in (pearsonr, spearmanr))
    return f"{name}: Pearson {pearson:.2f}, Spearman {spearman:.2f}, {len(points)} submissions"


def draw(path: Path, scored: dict[str, Pairs]) -> None:
    """Draw leaderboard scores over out-of-fold scores, with the line on which both are equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for (board, points), marker in zip(scored.items(), "ox", strict=True):
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, label=board)
    middle = sum(x for points in scored.values() for x, _ in points) / sum(map(len, scored.values()))
    axes.axline((middle, middle), slope=1, color="grey", linewidth=0.8)
    axes.set(xlabel="out-of-fold mAP, nested", ylabel="leaderboard")
    axes.legend()
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=120)
