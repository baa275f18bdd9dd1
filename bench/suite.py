"""The parts of ``./run.sh bench``: which images and maps they are measured on, and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench import compare, inputs

from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS
from nuclei.ensemble.fit_second_stage import plain_selection
from nuclei.ensemble.oof import Case, Setting
from nuclei.ensemble.tune import Effort, Space, tunable
from nuclei.paths import Paths
from nuclei.postprocess.pipeline import Step, postprocess


@dataclass(frozen=True)
class Suite:
    """What is measured.

    Attributes:
        paths: of the data set.
        parts: some of those that the command names.
        images, seed: number of crowded training images, and seed of their draw.
        rows: of the large CSV.
        repeats, searches: how often each part, and the search, is timed.
        members, trials, workers: of the search.
        steps: each post-processing by name, ``watershed`` and ``distance``.
        ranges: the setting ``space`` of the command ``ensemble``.
        refine, finalists, search_seed, search_images, crop: further settings of that command.
    """

    paths: Paths
    parts: Sequence[str]
    images: int
    seed: int
    rows: int
    repeats: int
    searches: int
    members: int
    trials: int
    workers: int
    steps: Mapping[str, Sequence[Step]]
    ranges: Mapping[str, Mapping[str, Any]]
    refine: int
    finalists: int
    search_seed: int
    search_images: int
    crop: int

    def lines(self) -> Iterator[str]:
        """Yield what is measured on, the rows of the table, and notes."""
        store, rows = Store(self.paths.store), read_folds(self.paths.folds)
        members = inputs.members_of(self.paths.data_runs, rows, self.paths.folds)
        chosen = inputs.sample(rows, self.images, self.seed)
        ids = [rows[i].image_id for i in chosen]
        truth = [store.labels(i) for i in ids]
        stacks, origin = inputs.maps_of(members, 1, store, ids, truth)
        maps = [stack[0] for stack in stacks]
        nuclei = sum(int(labels.max()) for labels in truth)
        yield f"{len(ids)} images of {self.paths.data} with {nuclei:,} nuclei; maps: {origin}"
        steps = self.steps["watershed"]
        predicted = [postprocess(image, CHANNELS, steps) for image in maps]
        table = {
            "metric": lambda: compare.metric(truth, predicted, self.repeats),
            "encoding": lambda: compare.encoding(truth, self.repeats),
            "csv": lambda: compare.tables(truth, self.rows, self.repeats),
            "postprocess": lambda: compare.segmenting(maps, CHANNELS, self.steps, self.repeats),
            "second_stage": lambda: compare.describing(
                maps,
                CHANNELS,
                plain_selection(steps[0]),  # type: ignore[arg-type]
                self.repeats,
            ),
        }
        for part in self.parts:
            if part in table:
                yield from map(str, table[part]())
        if {"postprocess", "search"} & set(self.parts):
            yield from self.on_all_images(store, chosen)

    def on_all_images(self, store: Store, chosen: list[int]) -> Iterator[str]:
        """Search with all images, and score each post-processing on the first member's maps of them."""
        rows = read_folds(self.paths.folds)
        count = self.members if "search" in self.parts else 1
        members = inputs.members_of(self.paths.data_runs, rows, self.paths.folds)
        ids = [row.image_id for row in rows]
        truth = [store.labels(i).astype(np.uint16) for i in ids]
        stacks, origin = inputs.maps_of(members, count, store, ids, truth)
        notes = []
        if "search" in self.parts:
            ranges, parameters = tunable(self.ranges, self.steps["watershed"])
            ranges.pop("low")  # six are searched
            default = Setting((1 / count,) * count, tuple((n, v) for n, v in parameters if n in ranges))
            setup = {
                "steps": self.steps["watershed"],
                "channels": CHANNELS,
                "strata": [(row.fold, row.modality) for row in rows],
                "sample": chosen,
                "images": self.search_images,
                "crop": self.crop,
                "effort": Effort(self.trials - self.refine, self.refine, self.finalists, self.search_seed),
                "workers": self.workers,
            }
            cases = [Case(*case) for case in zip(stacks, truth, strict=True)]
            folds = [row.fold for row in rows]
            row, note = compare.search(cases, folds, Space(ranges, default), setup, self.searches)
            yield str(row)
            notes += [note, f"members: {origin}"]
        if "postprocess" in self.parts:
            first = [stack[0] for stack in stacks]
            scores = compare.quality(first, truth, CHANNELS, self.steps)
            notes.append(f"post-processing, mAP on all {len(ids)} images: {scores}")
        yield "\n" + "\n".join(notes)
