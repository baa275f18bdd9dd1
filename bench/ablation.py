"""What each part of the recipe is worth, out-of-fold on two cross-validations; writes docs/ablation.md.

    PYTHONPATH=src python bench/ablation.py [IMAGES]

Needs compact/long on every fold of the data sets dsb2018 (tiles of one picture stay together) and
dsb2018_kinds (whole kinds of images held out), and the formulations on fold 0 of both; bench/ablation.md has
the commands. A formulation that is not trained has no row. Changes of inference and post-processing are made
with the same networks on a stratified sample of IMAGES images (default 120); the second stage is grown and
scored on all images, fold by fold. Formulations are tuned on one half of the held-out images and scored on
the other, both ways.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from omegaconf import OmegaConf
from skimage.segmentation import expand_labels

import nuclei.postprocess.second_stage as selection
from nuclei.build import named_steps
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.fit_second_stage import second_stage
from nuclei.ensemble.oof import Case, Evaluator, Setting, load_cases, load_oof
from nuclei.ensemble.tune import Effort, Images, Space, Tuned, stratified, tunable, tune
from nuclei.inference.segmenter import WeightedNetwork
from nuclei.metrics import confusion, precision_at
from nuclei.model_loading import trained_network
from nuclei.models.otsu import Otsu
from nuclei.paths import FoldFolder
from nuclei.postprocess.pipeline import postprocess, with_parameters
from nuclei.progress import track
from nuclei.reproduce.paper_page import hardware
from nuclei.training.environment import code_state

HERE = Path(__file__).parents[1]
CVS = ("dsb2018", "dsb2018_kinds")
RUN = "compact/long"
MODALITIES = ("fluorescence", "histology", "brightfield")


def steps(name: str, **parameters: float) -> list[Any]:
    """The steps of a post-processing config, with other values."""
    return with_parameters(named_steps(name), parameters)


@dataclass(frozen=True)
class View:
    """How maps are made; see ``nuclei.inference.segmenter.WeightedNetwork``."""

    tta: int = 2
    diameter: float | None = 26.0
    scales: tuple[float, ...] = (1.0, 1.25)


@dataclass(frozen=True)
class Row:
    """One change: how maps are made, and how labels are made of them."""

    name: str
    steps: Sequence[Any]
    view: View = View()
    grow: int = 0
    otsu: bool = False


WATERSHED = steps("watershed")
ROWS = (
    Row("Otsu, connected components: no learning", steps("components"), otsu=True),
    Row("Otsu, distance-transform watershed", steps("distance"), otsu=True),
    Row("**the recipe**", WATERSHED),
    Row("nucleus map alone, connected components", steps("components")),
    Row("nucleus map alone, distance-transform watershed", steps("distance")),
    Row("markers without the distance map", steps("watershed", distance_weight=0.0)),
    Row("markers without the border map", steps("watershed", border_weight=0.0)),
    Row("markers from the distance map alone", steps("watershed", distance_weight=1.0)),
    Row("one threshold (0.5) in place of hysteresis", steps("watershed", low=0.5, high=0.5)),
    Row("markers not smoothed", steps("watershed", sigma=0.0)),
    Row("small objects kept", steps("watershed", min_area=1)),
    Row("nuclei grown by one pixel", WATERSHED, grow=1),
    Row("nuclei shrunk by one pixel", WATERSHED, grow=-1),
    Row("images as they are, not zoomed to one size", WATERSHED, View(diameter=None)),
    Row("zoomed to a diameter of 20 pixels", WATERSHED, View(diameter=20.0)),
    Row("zoomed to a diameter of 32 pixels", WATERSHED, View(diameter=32.0)),
    Row("1 view", WATERSHED, View(tta=1)),
    Row("2 views at one zoom", WATERSHED, View(scales=(1.0,))),
    Row("3 views at zooms 0.8, 1, 1.25", WATERSHED, View(tta=3, scales=(0.8, 1.0, 1.25))),
    Row("4 views", WATERSHED, View(tta=4)),
)
SELECTIONS = (
    ("the watershed alone", 0, 0.0),
    ("doubtful nuclei left out", 1, 0.0),
    ("the best of three thresholds of the markers", 3, 0.0),
    ("and of three of the mask", 6, 0.0),
    ("**tuned mask ahead by 0.04 (the recipe)**", 6, 0.04),
)
FORMULATIONS = (
    ("nucleus, border and distance (the recipe)", "form_three", {}),
    ("nucleus and border", "form_border", {}),
    ("nucleus and small centre", "form_centre", {"centre": "distance"}),
    ("nucleus and offsets within it, as in HoVer-Net", "form_offsets", {}),
)


def grown(labels: np.ndarray, by: int) -> np.ndarray:
    """Labels with each nucleus grown, or shrunk where ``by`` is negative."""
    if by >= 0:
        return expand_labels(labels, by) if by else labels
    background = expand_labels((labels == 0).astype(np.int32), -by)
    return np.where(background > 0, 0, labels)


class CrossValidation:
    """A sample of the images of one data set, each with the network that has not seen it."""

    def __init__(self, data: str, images: int) -> None:
        rows = read_folds(HERE / "folds" / f"{data}.csv")
        chosen = set(stratified([(r.fold, r.modality) for r in rows], images, seed=0))
        self.rows = [r for i, r in enumerate(rows) if i in chosen]
        store = Store(HERE / "data" / "dsb2018.store")
        self.images = [store.image(r.image_id) for r in self.rows]
        self.truth = [store.labels(r.image_id) for r in self.rows]
        folder = HERE / "runs" / data / RUN
        self.networks = {k: trained_network(FoldFolder(folder / f"fold{k}")) for k in {r.fold for r in rows}}
        self.name, self._maps = data, dict[View, tuple[list[np.ndarray], float]]()

    def maps(self, view: View) -> tuple[list[np.ndarray], float]:
        """The maps of all images, and the seconds for one image."""
        if view not in self._maps:
            start = time.perf_counter()
            networks = {k: replace(v, **vars(view)) for k, v in self.networks.items()}
            pairs = track(list(zip(self.rows, self.images, strict=True)), f"{self.name} {view}")
            made = [networks[row.fold].maps(image) for row, image in pairs]
            self._maps[view] = made, (time.perf_counter() - start) / len(made)
        return self._maps[view]

    def precision(self, row: Row) -> tuple[np.ndarray, float]:
        """float64 (images, 10) of one row, and the seconds for the maps of one image."""
        if row.otsu:
            otsu = WeightedNetwork(Otsu(), ["nucleus"])
            maps, seconds = [otsu.maps(image) for image in self.images], 0.0
            channels: Sequence[str] = ["nucleus"]
        else:
            maps, seconds = self.maps(row.view)
            channels = next(iter(self.networks.values())).channels
        labels = (grown(postprocess(m, channels, row.steps), row.grow) for m in maps)
        found = [precision_at(confusion(t, p)) for t, p in zip(self.truth, labels, strict=True)]
        return np.array(found), seconds

    def modality(self) -> np.ndarray:
        """Names, (images,)."""
        return np.array([r.modality for r in self.rows])


def oof_cases(data: str, run: str, rows: Sequence[FoldRow]) -> tuple[list[Case], list[str]]:
    """The out-of-fold maps of one run and the truth, and the names of the maps."""
    sha256 = folds_sha256(HERE / "folds" / f"{data}.csv")
    member = load_oof(HERE / "runs" / data / "compact" / run, rows, sha256)
    return load_cases([member], member.channels, Store(HERE / "data" / "dsb2018.store"), rows), list(
        member.channels
    )


class SecondStages:
    """The second stage on all images of a data set."""

    def __init__(self, data: str) -> None:
        self.rows = read_folds(HERE / "folds" / f"{data}.csv")
        cases, channels = oof_cases(data, RUN.partition("/")[2], self.rows)
        self.full, self.folds = Evaluator(cases, channels, WATERSHED, 1), [r.fold for r in self.rows]

    def precision(self, candidates: int, margin: float) -> np.ndarray:
        """float64 (images, 10) with that many label maps to choose from; 0 for no second stage."""
        plain = self.full.precision(Setting((1.0,)), range(len(self.rows)))
        if not candidates:
            return plain
        tuned = Tuned(Setting((1.0,)), plain, plain, plain, dict.fromkeys(self.folds, Setting((1.0,))))
        chosen = (
            patch.object(selection, "SHIFTS", selection.SHIFTS[:candidates]),
            patch.object(selection, "TUNED_MASK_BONUS", margin),
        )
        with chosen[0], chosen[1]:
            return second_stage(self.full, self.folds, tuned, 0)[1].nested

    def modality(self) -> np.ndarray:
        """Names, (images,)."""
        return np.array([r.modality for r in self.rows])


def formulation(data: str, name: str, renamed: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Precision of each image of fold 0, tuned on the half without it; and the modalities."""
    rows = [r for r in read_folds(HERE / "folds" / f"{data}.csv") if r.fold == 0]
    cases, channels = oof_cases(data, name, rows)
    channels = [renamed.get(c, c) for c in channels]
    start = steps("offsets" if "offset_y" in channels else "watershed")
    full = Evaluator(cases, channels, start, 1)
    quick = Evaluator([case.middle(256) for case in cases], channels, start, 1)
    ranges, known = tunable(OmegaConf.load(HERE / "configs" / "ensemble.yaml").space, start)
    halves = Images(full, quick, range(len(cases)), [r.group % 2 for r in rows])
    space = Space(ranges, Setting((1.0,), known), free_weights=False)
    tuned = tune(space, halves, Effort(48, 12, 3, 0), name)
    return tuned.nested, np.array([r.modality for r in rows])


def line(name: str, a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray, last: str) -> str:
    """A row of the table: precision (images, 10) on both cross-validations, with the images' modalities."""
    figures = [a.mean(), b.mean(), (a.mean() + b.mean()) / 2, *a.mean(0)[[0, 5, 8]]]
    for precision, modality in ((a, of_a), (b, of_b)):
        figures += [precision[modality == m].mean() for m in MODALITIES]
    return f"| {name} | " + " | ".join(f"{x:.3f}" for x in figures) + f" | {last} |"


def main() -> None:
    """Score every row on both cross-validations and write the page."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    torch.set_num_threads(1)
    plain, kinds = (CrossValidation(data, images) for data in CVS)
    lines, stages, forms = [], [], []
    for row in ROWS:
        (a, seconds), (b, _) = plain.precision(row), kinds.precision(row)
        lines.append(line(row.name, a, b, plain.modality(), kinds.modality(), f"{1000 * seconds:.0f}"))
        print(lines[-1], flush=True)
    second, of_kinds = SecondStages(CVS[0]), SecondStages(CVS[1])
    for title, candidates, margin in SELECTIONS:
        a, b = (of.precision(candidates, margin) for of in (second, of_kinds))
        stages.append(line(title, a, b, second.modality(), of_kinds.modality(), f"{len(a)} + {len(b)}"))
        print(stages[-1], flush=True)
    for title, name, renamed in FORMULATIONS:
        if not all((HERE / "runs" / data / "compact" / name / "fold0" / "oof.npz").is_file() for data in CVS):
            print(f"{name} is not trained", file=sys.stderr)
            continue
        (a, of_a), (b, of_b) = (formulation(data, name, renamed) for data in CVS)
        forms.append(line(title, a, b, of_a, of_b, f"{len(a)} + {len(b)}"))
        print(forms[-1], flush=True)
    page = (HERE / "bench" / "ablation.md").read_text()
    facts = {"images": images, "commit": code_state(HERE)[0][:7], "machine": hardware()}
    tables = {"table": lines, "second_stage": stages, "formulations": forms}
    made = page.format(**facts, **{name: "\n".join(rows) for name, rows in tables.items()})
    (HERE / "docs" / "ablation.md").write_text(made)


if __name__ == "__main__":
    main()
