"""From a source's files to its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from nuclei.data import decode
from nuclei.data.dsb2018 import Item, Split
from nuclei.data.store import encode_image, encode_labels, modality, write_store
from nuclei.progress import track

Row = tuple[dict[str, Any], bytes, bytes | None]


class Source(Protocol):
    """What a data set must answer."""

    root: Path

    def fetch(self) -> None:
        """Make the files be there, or say in one line how to get them."""

    def items(self, split: Split) -> list[Item]:
        """All images of a split."""


def prepare(source: Source, store: str | Path, workers: int) -> Counter[str]:
    """Read every image and mask of ``source`` and write ``store``.

    Returns:
        Counts: ``train``, ``test`` and ``nuclei``, and of each rule that masks needed
        (see ``nuclei.data.decode.labels``).
    """
    source.fetch()
    items = source.items("train") + source.items("test")
    counts: Counter[str] = Counter()

    def rows() -> Iterator[Row]:
        with ProcessPoolExecutor(workers) as pool:
            for row, found in track(pool.map(_encode, items, chunksize=4), "prepare", len(items)):
                counts.update(found)
                counts[row[0]["split"]] += 1
                counts["nuclei"] += row[0]["nuclei"]
                yield row

    write_store(store, rows())
    return counts


def _encode(item: Item) -> tuple[Row, Counter[str]]:
    image = decode.image(item.read(item.image), item.image)
    shape = (image.shape[0], image.shape[1])
    counts: Counter[str] = Counter()
    labels = None
    if item.split == "train":
        labels = decode.labels(((m, item.read(m)) for m in item.masks), shape, counts)
    row = {
        "ImageId": item.image_id,
        "split": item.split,
        "height": shape[0],
        "width": shape[1],
        "channels": 1 if image.ndim == 2 else 3,
        "nuclei": 0 if labels is None else int(labels.max()),
        "modality": modality(image),
    }
    return (row, encode_image(image), None if labels is None else encode_labels(labels)), counts
