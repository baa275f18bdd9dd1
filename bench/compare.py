"""Ours against its peer, in turn, in one process."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench import peers

from nuclei.ensemble.oof import Case, Evaluator
from nuclei.ensemble.tune import Effort, Images, Space, stratified, tune
from nuclei.metrics import average_precision, confusion
from nuclei.postprocess.pipeline import postprocess
from nuclei.postprocess.second_stage import SHIFTS, Selection, candidate_features
from nuclei.submission import rle
from nuclei.submission.csv_files import read_submission, write_submission


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds for all inputs, and how often ours must fit into the peer's."""

    part: str
    peer: str
    ours_s: float
    peer_s: float
    goal: float | None
    inputs: int = 1
    """What the figures are divided by before they are shown."""

    def __str__(self) -> str:
        ratio = self.peer_s / self.ours_s
        ours, peer = (shown(seconds / self.inputs) for seconds in (self.ours_s, self.peer_s))
        goal = "–" if self.goal is None else f"{self.goal:.0f}×" + " missed" * (ratio < self.goal)
        return f"| {self.part} | {ours} | {self.peer}: {peer} | **{ratio:.1f}×** | {goal} |"


HEAD = "| part | ours | peer | ratio | goal |\n|---|---|---|---|---|"


def shown(seconds: float) -> str:
    """Write a time in seconds or milliseconds."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.2g} ms"


def in_turn(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int, warm: int = 1
) -> tuple[float, float]:
    """Run both in turn, ``warm`` times untimed and then ``repeats`` times; return the medians in seconds."""
    both: tuple[list[float], list[float]] = [], []
    for n in range(warm + repeats):
        for run, times in zip((ours, peer), both, strict=True):
            start = time.perf_counter()
            run()
            if n >= warm:
                times.append(time.perf_counter() - start)
    return statistics.median(both[0]), statistics.median(both[1])


def each(function: Callable[..., object], items: Iterable[Sequence[Any]]) -> Callable[[], object]:
    """Return what calls a function with each of the items, unpacked."""
    kept = list(items)
    return lambda: [function(*item) for item in kept]


def metric(truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray], repeats: int) -> list[Row]:
    """The metric at ten thresholds; its counts are compared too."""
    pairs = list(zip(truth, predicted, strict=True))
    for pair in pairs:
        assert (confusion(*pair) == peers.bincount_matching(*pair)).all()
    rows = []
    for peer, goal in ((peers.stardist_matching, 20), (peers.bincount_matching, None)):
        times = in_turn(each(confusion, pairs), each(peer, pairs), repeats)
        rows.append(Row("metric, an image", peer.__name__, *times, goal, len(pairs)))
    return rows


def encoding(truth: Sequence[np.ndarray], repeats: int) -> list[Row]:
    """The runs of all nuclei of an image."""
    for labels in truth:
        for ours, theirs in zip(rle.encode(labels), peers.classic_encode_all(labels), strict=True):
            assert ours.tolist() == theirs
    rows, single = [], [(labels,) for labels in truth]
    for peer in (peers.coco_encode, peers.classic_encode_all):
        times = in_turn(each(rle.encode, single), each(peer, single), repeats)
        rows.append(Row("run-length code, an image", peer.__name__, *times, 25, len(truth)))
    return rows


def ours_read(path: Path, shapes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, np.ndarray]]:
    """Read a submission; yield the label map of each image."""
    return ((i, rle.decode(rows, shapes[i])) for i, rows in read_submission(path).items())


def tables(truth: Sequence[np.ndarray], n_rows: int, repeats: int) -> list[Row]:
    """Write a submission of all images; read it, and one of ``n_rows``, into label maps."""
    images = {f"image{n:05}": labels for n, labels in enumerate(truth)}
    nuclei = sum(int(labels.max()) for labels in truth)
    many = {f"{i}x{k}": a for k in range(n_rows // nuclei + 1) for i, a in images.items()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path, large = Path(folder, "s.csv"), Path(folder, "large.csv")
        times = in_turn(
            lambda: write_submission(path, images.items()), lambda: peers.pandas_write(path, images), repeats
        )
        rows.append(Row(f"write the CSV of {len(images)} images", "pandas", *times, 10))
        write_submission(large, many.items())
        with open(large) as f:
            lines = [line for _, line in zip(range(n_rows + 1), f, strict=False)]
        large.write_text("".join(lines))
        shapes = {i: a.shape for i, a in (many | images).items()}
        for file, what in ((path, f"the CSV of {len(images)} images"), (large, f"{len(lines) - 1:,} rows")):
            both = zip(ours_read(file, shapes), peers.pandas_read(file, shapes), strict=True)
            assert all(i == j and (a == b).all() for (i, a), (j, b) in both)
            times = in_turn(
                lambda f=file: deque(ours_read(f, shapes), 0),  # type: ignore[misc]
                lambda f=file: deque(peers.pandas_read(f, shapes), 0),  # type: ignore[misc]
                repeats,
            )
            rows.append(Row(f"read and decode {what}", "pandas, row by row", *times, 10))
    return rows


def segmenting(
    maps: Sequence[np.ndarray], channels: Sequence[str], steps: Mapping[str, Sequence[Any]], repeats: int
) -> list[Row]:
    """Each named post-processing against the plain chain, which gets the nucleus map as floats."""
    floats = [(image[0] / 255).astype(np.float32) for image in maps]
    rows = []
    for name, own in steps.items():
        ours = each(postprocess, ((image, channels, own) for image in maps))
        times = in_turn(ours, each(peers.chain, ((nucleus,) for nucleus in floats)), repeats)
        name = f"post-processing ({name}), an image"
        rows.append(Row(name, "scikit-image and SciPy", *times, 6, len(maps)))
    return rows


def describing(
    maps: Sequence[np.ndarray], channels: Sequence[str], plain: Selection, repeats: int
) -> list[Row]:
    """What the second stage asks of its candidates; areas and agreement are compared too."""
    items = []
    for image in maps:
        named = dict(zip(channels, image, strict=True))
        items.append((plain.candidates(named), named))
    for item in items:
        for ours, theirs in zip(candidate_features(*item), peers.regionprops(*item), strict=True):
            np.testing.assert_allclose(ours[:, 0], theirs["area"])
            np.testing.assert_allclose(ours[:, -len(SHIFTS) :], theirs["iou"], rtol=1e-6)
    times = in_turn(each(candidate_features, items), each(peers.regionprops, items), repeats)
    return [
        Row("second stage's features, an image", "regionprops_table and np.bincount", *times, 6, len(maps))
    ]


def quality(
    maps: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    channels: Sequence[str],
    steps: Mapping[str, Sequence[Any]],
) -> str:
    """Score each post-processing and the plain chain on the same maps."""
    pairs = list(zip(maps, truth, strict=True))
    scores = {
        name: np.mean([average_precision(t, postprocess(m, channels, own)) for m, t in pairs])
        for name, own in steps.items()
    }
    scores["plain chain"] = np.mean([average_precision(t, peers.chain(m[0] / 255)) for m, t in pairs])
    return ", ".join(f"{name} {score:.4f}" for name, score in scores.items())


def search(
    cases: Sequence[Case], folds: Sequence[int], space: Space, setup: Mapping[str, Any], repeats: int
) -> tuple[Row, str]:
    """The whole search, nested score included, against a loop of trials: its time is that of one, multiplied.

    Args:
        cases: all images, the maps of each member.
        folds: the fold of each image.
        space: what is searched.
        setup: steps, channels, strata, effort, workers; sample, the numbers of the images that the loop is
            timed on; images and crop, as in the command ``ensemble``.
        repeats: of ours, and of the peer's one trial.
    """
    effort: Effort = setup["effort"]
    drawn = stratified(setup["strata"], setup["images"], effort.seed)
    members = len(space.default.weights)
    part = [cases[i] for i in setup["sample"]]
    timed = [((case.maps / 255).astype(np.float32), case.truth.astype(np.int64)) for case in part]
    share = sum(c.truth.size for c in cases) / sum(t.size for _, t in timed)
    found = []

    def ours() -> None:
        quick = [case.middle(setup["crop"]) if i in set(drawn) else case for i, case in enumerate(cases)]
        full, small = (
            Evaluator(c, setup["channels"], setup["steps"], setup["workers"]) for c in (cases, quick)
        )
        found.append(tune(space, Images(full, small, drawn, folds), effort, "bench"))

    ours_s, trial_s = in_turn(ours, lambda: peers.loop_trial(timed, (1 / members,) * members), repeats, 0)
    trials = effort.trials + effort.refine
    row = Row(
        f"search: {members} members, {len(space.ranges)} parameters, {trials} trials, {len(cases)} images",
        f"the loop, {setup['workers']} processes",
        ours_s,
        trial_s * share * trials / setup["workers"],
        15,
    )
    best, peak = found[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    note = (
        f"search: mAP on all images {best.nested.mean():.4f} nested, {best.on_all.mean():.4f} tuned on all, "
        f"{best.default.mean():.4f} untuned; peak memory {peak:.1f} GB"
    )
    return row, note
