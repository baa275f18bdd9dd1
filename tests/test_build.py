"""Objects are built from a command's settings."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from nuclei import build
from nuclei.paths import Paths
from nuclei.postprocess.watershed import MapWatershed


def test_paths_come_from_the_settings() -> None:
    folders = dict.fromkeys(("runs", "ensembles", "submissions", "kernels", "reports"), "there")
    data = {"name": "demo", "root": "r", "store": "s", "folds": "f"}
    cfg = OmegaConf.create({"paths": folders, "data": data})
    there = Path("there")
    assert build.build_paths(cfg) == Paths(*[there] * 5, "demo", Path("r"), Path("s"), Path("f"))


def test_the_watershed_of_the_settings_is_that_of_the_code() -> None:
    assert build.named_steps("watershed")[0] == MapWatershed()  # nuclei are sized by it, see mean_diameter
