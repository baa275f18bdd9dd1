"""Where each stage reads and writes: pure functions of the names in the config."""

from __future__ import annotations

from pathlib import Path


def run_folder(runs: str | Path, data: str, model: str, name: str, fold: int) -> Path:
    """Folder of one trained fold.

    >>> run_folder("runs", "dsb2018", "unet", "default", 0).as_posix()
    'runs/dsb2018/unet/default/fold0'
    """
    return Path(runs) / data / model / name / f"fold{fold}"
