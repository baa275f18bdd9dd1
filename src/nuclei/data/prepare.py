"""From a source's files to its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nuclei.data.sources.dsb2018 import Split
from nuclei.data.store import encode_image, encode_labels, write_store
from nuclei.parallel import parallel_map
from nuclei.progress import track

Row = tuple[dict[str, Any], bytes, bytes | None]


class Item(Protocol):
    """What an image of a data set must answer."""

    @property
    def image_id(self) -> str:
        """A plain word, the image's own."""

    @property
    def split(self) -> Split:
        """``train`` images have labels."""

    @property
    def parent(self) -> str:
        """Items of one parent share a fold."""

    def picture(self) -> np.ndarray:
        """``uint8 (H, W)`` or RGB ``(H, W, 3)``."""

    def modality(self, picture: np.ndarray) -> str:
        """What kind of microscope it is from."""

    def labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """``int32 (H, W)``, 1..N; what had to be mended is added to ``counts``."""

    def classes(self, labels: np.ndarray) -> list[int]:
        """The class of each nucleus, 1 and more, nucleus 1 first; empty where none are told apart."""


class Source(Protocol):
    """What a data set must answer."""

    root: Path

    def fetch(self) -> None:
        """Make the files be there, or say in one line how to get them."""

    def items(self, split: Split) -> Sequence[Item]:
        """All images of a split."""


def prepare(source: Source, store: str | Path, workers: int) -> Counter[str]:
    """Read every image and mask of ``source`` and write ``store``.

    Returns:
        Counts: ``train``, ``test`` and ``nuclei``, and of each rule that masks needed
        (see ``nuclei.data.image_decoding.labels``).
    """
    source.fetch()
    items = [*source.items("train"), *source.items("test")]
    counts: Counter[str] = Counter()

    def rows() -> Iterator[Row]:
        for row, found in track(parallel_map(_encode, items, workers), "prepare", len(items)):
            counts.update(found)
            counts[row[0]["split"]] += 1
            counts["nuclei"] += row[0]["nuclei"]
            yield row

    write_store(store, rows())
    return counts


def _encode(item: Item) -> tuple[Row, Counter[str]]:
    image = item.picture()
    shape = (image.shape[0], image.shape[1])
    counts: Counter[str] = Counter()
    labels = item.labels(shape, counts) if item.split == "train" else None
    row = {
        "ImageId": item.image_id,
        "split": item.split,
        "height": shape[0],
        "width": shape[1],
        "channels": 1 if image.ndim == 2 else 3,
        "nuclei": 0 if labels is None else int(labels.max()),
        "modality": item.modality(image),
        "parent": item.parent,
        "classes": "" if labels is None else " ".join(map(str, item.classes(labels))),
    }
    return (row, encode_image(image), None if labels is None else encode_labels(labels)), counts
