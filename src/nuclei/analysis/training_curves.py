"""How the runs were trained: the ``metrics.csv`` of their folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nuclei.analysis.findings import Subject
from nuclei.analysis.plots import PALETTE, figure


def training_logs(subjects: Sequence[Subject]) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Find each run's ``metrics.csv`` by fold, and name the runs that have none, such as Otsu's."""
    members = {member.name: member for subject in subjects for member in subject.members}
    logs = {
        name: {
            path.parent.name: path.with_name("metrics.csv")
            for path in sorted(set(member.files.values()))
            if path.with_name("metrics.csv").is_file()
        }
        for name, member in members.items()
    }
    return {name: of_fold for name, of_fold in logs.items() if of_fold}, [n for n, f in logs.items() if not f]


def training(curves: Mapping[str, Mapping[str, Path]]) -> go.Figure:
    """Loss, and validation score where it was measured, by epoch: the ``metrics.csv`` of each run's folds."""
    logs = {run: {fold: pd.read_csv(path) for fold, path in folds.items()} for run, folds in curves.items()}
    scored = any(log["mAP"].notna().any() for folds in logs.values() for log in folds.values())
    columns = ("loss", "mAP") if scored else ("loss",)
    drawn = make_subplots(rows=1, cols=len(columns), subplot_titles=columns if scored else None)
    drawn.update_layout(figure("", "").layout)
    for n, (run, folds) in enumerate(logs.items()):
        for m, (fold, log) in enumerate(folds.items()):
            for column, name in enumerate(columns, 1):
                drawn.add_scatter(
                    x=log["epoch"][log[name].notna()],
                    y=log[name].dropna(),
                    name=run,
                    legendgroup=run,
                    showlegend=m == 0 and column == 1,
                    line_color=PALETTE[n % len(PALETTE)],
                    opacity=0.75,
                    hovertext=f"{run} {fold}",
                    row=1,
                    col=column,
                )
    return drawn.update_xaxes(title_text="epoch").update_yaxes(title_text="training loss", col=1)
