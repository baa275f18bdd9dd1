"""Folds for cross-validation: related images together, each fold alike in modality and nucleus count."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np

from nuclei.atomic import atomic_write
from nuclei.data.image_clusters import kinds
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.progress import track

COLUMNS = ("ImageId", "fold", "group", "modality", "height", "width", "nuclei")


@dataclass(frozen=True)
class FoldRow:
    """One training image in the folds file, with the fields of ``COLUMNS``.

    Attributes:
        image_id: of the image.
        fold: that holds the image out.
        group: number of the group of related images, which is never split.
        modality: kind of microscopy.
        height, width: in pixels.
        nuclei: number of them.
    """

    image_id: str
    fold: int
    group: int
    modality: str
    height: int
    width: int
    nuclei: int


def make_folds(
    store: Store, n_folds: int, seed: int, correlation: float = 0.8, jump: float = 2.5, n_kinds: int = 0
) -> list[FoldRow]:
    """Assign each training image of ``store`` to one of ``n_folds`` folds.

    Tiles of one larger picture and near-duplicates form a group, which is never split
    (``related``). Strata are modality by quartile of the nucleus count. With ``n_kinds`` whole kinds of
    images (``nuclei.data.image_clusters``) are kept together instead, so that a fold shows what a network
    makes of kinds that it has never seen.

    Args:
        store: the images.
        n_folds: at least 2.
        seed: of the shuffle.
        correlation: see ``related``.
        jump: see ``related``.
        n_kinds: number of kinds; 0 keeps only groups together.

    Returns:
        A row for each image, sorted by ImageId.

    Raises:
        UserError: fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    ids = store.ids("train")
    pictures = {i: store.image(i) for i in track(ids, "folds")}
    group = _components(ids, related(pictures, correlation, jump) + siblings(store, ids))
    if not 2 <= n_folds <= len(set(group)):
        raise UserError(f"n_folds={n_folds}: expected 2 to {len(set(group))}, the number of groups of images")
    rows = [store.row(i) for i in ids]
    quartile = np.digitize(
        [r["nuclei"] for r in rows], np.quantile([r["nuclei"] for r in rows], (0.25, 0.5, 0.75))
    )
    strata = _merge_rare([f"{r['modality']} {q}" for r, q in zip(rows, quartile, strict=True)], n_folds)
    together = kinds(store, group, n_kinds) if n_kinds else group
    fold = np.empty(len(ids), int)
    split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(ids, strata, together)
    for k, (_, held_out) in enumerate(split):
        fold[held_out] = k
    return [
        FoldRow(r["ImageId"], int(f), g, r["modality"], r["height"], r["width"], r["nuclei"])
        for r, f, g in zip(rows, fold, group, strict=True)
    ]


def _merge_rare(strata: list[str], least: int) -> list[str]:
    """A modality with a stratum of fewer than ``least`` images is one stratum: it could not be spread."""
    rare = {s.rsplit(" ", 1)[0] for s, n in Counter(strata).items() if n < least}
    return [s.rsplit(" ", 1)[0] if s.rsplit(" ", 1)[0] in rare else s for s in strata]


def related(pictures: dict[str, np.ndarray], correlation: float, jump: float) -> list[tuple[str, str]]:
    """Pairs of images that show neighbouring or the same tissue.

    Two images of one size are neighbours when the last column (row) of one continues in the first
    of the other: each is the other's best match, the two profiles correlate by ``correlation`` or
    more, and the step between them is below ``jump`` times the step inside the first image.
    Two images are near-duplicates when their 16×16 thumbnails correlate by 0.995 or more.

    Args:
        pictures: ImageId to ``uint8 (H, W)`` or ``(H, W, 3)``.
        correlation: least correlation of two edges.
        jump: greatest step across the edge, relative to a step inside.
    """
    by_size: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for image_id, picture in pictures.items():
        by_size[picture.shape].append(image_id)
    pairs: list[tuple[str, str]] = []
    for ids in by_size.values():
        grey = np.stack([_grey(pictures[i]) for i in ids])
        found = [_continuations(g, correlation, jump) for g in (grey, grey.transpose(0, 2, 1))]
        thumbs = np.stack([cv2.resize(g, (16, 16), interpolation=cv2.INTER_AREA).ravel() for g in grey])
        same = _correlations(thumbs, thumbs, 1.0) >= 0.995
        found.append(np.argwhere(np.triu(same, 1)))
        pairs += [(ids[a], ids[b]) for a, b in np.concatenate(found)]
    return pairs


def siblings(store: Store, ids: list[str]) -> list[tuple[str, str]]:
    """Pairs of images that were cut from one picture."""
    first: dict[str, str] = {}
    return [(first.setdefault(store.row(i).get("parent") or i, i), i) for i in ids]


def _grey(picture: np.ndarray) -> np.ndarray:
    return (picture if picture.ndim == 2 else picture.mean(2)).astype(np.float32)


def _continuations(grey: np.ndarray, correlation: float, jump: float) -> np.ndarray:
    """(n, 2) pairs a, b where b's first column continues a's last, of ``(N, H, W)`` images."""
    last, first = grey[:, :, -1], grey[:, :, 0]
    c = _correlations(last, first, 1.0)
    np.fill_diagonal(c, 0)
    best = (c == c.max(1, keepdims=True)) & (c == c.max(0, keepdims=True)) & (c >= correlation)
    pairs = np.argwhere(best)
    inside = np.abs(grey[:, :, -2] - last).mean(1)
    across = np.abs(last[pairs[:, 0]] - first[pairs[:, 1]]).mean(1)
    return pairs[across < jump * np.maximum(inside[pairs[:, 0]], 0.3)]


def _correlations(a: np.ndarray, b: np.ndarray, least_std: float) -> np.ndarray:
    """Pearson correlation of each row of ``a`` with each of ``b``; 0 where a row is almost flat."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    sa, sb = a.std(1), b.std(1)
    c = (a @ b.T) / a.shape[1] / np.maximum(np.outer(sa, sb), 1e-6)
    c[sa < least_std] = 0
    c[:, sb < least_std] = 0
    return c


def _components(ids: list[str], pairs: Iterable[tuple[str, str]]) -> list[int]:
    """Number the connected components of the graph of ``pairs``, in order of first image."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    at = {image_id: n for n, image_id in enumerate(ids)}
    edges = np.array([(at[a], at[b]) for a, b in pairs], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(ids), len(ids)))
    return [int(g) for g in connected_components(graph, directed=False)[1]]


def write_folds(path: str | Path, rows: Sequence[FoldRow]) -> None:
    """Write a folds file, whole."""
    with atomic_write(path) as part, open(part, "w", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(map(astuple, rows))


def read_folds(path: str | Path) -> list[FoldRow]:
    """Read a folds file.

    Raises:
        UserError: the file is missing or is not of this form.
    """
    if not Path(path).is_file():
        raise UserError(f"no folds file at {path}; run ./run.sh folds")
    with open(path, newline="") as f:
        table = csv.reader(f)
        columns = next(table, None)
        if tuple(columns or ()) != COLUMNS:
            raise UserError(
                f"{path}: expected the columns {','.join(COLUMNS)}, got {columns}; "
                "run ./run.sh folds force=true"
            )
        return [
            FoldRow(image_id, int(fold), int(group), modality, *map(int, rest))
            for image_id, fold, group, modality, *rest in table
        ]


def folds_sha256(path: str | Path) -> str:
    """What a run keeps of the folds file, so that runs on other folds are never merged."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
