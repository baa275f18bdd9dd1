"""``./run.sh bench``: the core's parts against what others use for them, in turn, and the ratio."""

from __future__ import annotations

import sys

import cv2
from omegaconf import DictConfig

from nuclei.build import as_tree, build_paths, build_postprocess, ensure_data
from nuclei.config import Call, compose_config
from nuclei.errors import UserError
from nuclei.paths import ROOT

PARTS = ("metric", "encoding", "csv", "postprocess", "second_stage", "search")
SAME = ("parts", "images", "seed", "rows", "repeats", "searches", "members", "trials", "workers")


def main(cfg: DictConfig, call: Call) -> None:
    """Measure the chosen parts and print the table, a line as soon as it is known."""
    if wrong := [part for part in cfg.parts if part not in PARTS]:
        raise UserError(f"no part {wrong[0]}; they are {', '.join(PARTS)}")
    sys.path.insert(0, str(ROOT))
    try:
        from bench.compare import HEAD
        from bench.suite import Suite
    except ModuleNotFoundError as e:
        raise UserError(
            f"the package {e.name} is missing, of those that bench compares with; "
            f"{sys.executable} -m pip install -r {ROOT / 'requirements-bench.txt'}"
        ) from e
    cv2.setNumThreads(1)
    ensure_data(cfg, call)
    kinds = ("watershed", "distance")
    words = [[f"data={cfg.data.name}", f"postprocess={kind}"] for kind in kinds]
    configs = [compose_config("ensemble", overrides) for overrides in words]
    lines = Suite(
        paths=build_paths(cfg),
        **{name: cfg[name] for name in SAME},
        steps={k: build_postprocess(c.postprocess) for k, c in zip(kinds, configs, strict=True)},
        ranges=as_tree(configs[0].space),
        refine=configs[0].refine,
        finalists=configs[0].finalists,
        search_seed=configs[0].seed,
        search_images=configs[0].images,
        crop=configs[0].crop,
    ).lines()
    print(next(lines))
    print(HEAD)
    for line in lines:
        print(line, flush=True)
