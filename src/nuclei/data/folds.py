"""Folds for cross-validation: related images together, each fold alike in modality and nucleus count."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np

from nuclei.atomic import atomic_write
from nuclei.data.store import Store, StoreRow
from nuclei.errors import UserError
from nuclei.metrics import equivalent_diameter
from nuclei.progress import track

NUMBER = re.compile("[0-9]{1,9}")
FLAT_EDGE, FLAT_THUMBNAIL = 1.0, 0.1
"""Standard deviations below which edges and images in small say nothing of what belongs together."""
COLUMNS = ("ImageId", "fold", "group", "modality", "height", "width", "nuclei")


@dataclass(frozen=True)
class FoldRow:
    """A line of the folds file: one training image, with what the store says of it.

    Attributes:
        fold: number of the fold that holds the image out.
        group: number of the group of related images, which is never split.
    """

    image_id: str
    fold: int
    group: int
    modality: str
    height: int
    width: int
    nuclei: int


def make_folds(
    store: Store,
    n_folds: int,
    seed: int,
    correlation: float,
    jump: float,
    n_clusters: int,
    fewer: bool = False,
) -> list[FoldRow]:
    """Assign each training image of ``store``, in its order, to one of ``n_folds`` folds.

    Tiles of one larger picture and near-duplicates form a group, which is never split (see
    ``related_pairs``). Strata are modality by quartile of the nucleus count. With ``n_clusters`` whole
    clusters of similar images are kept together instead (see ``cluster_images``), so that the score of a
    fold is of images unlike those that the network was trained on; 0 keeps only groups together.

    Args:
        correlation, jump: see ``related_pairs``.
        fewer: whether to make as many folds as there are groups where these are fewer than ``n_folds``,
            down to a single one.

    Raises:
        UserError: there are fewer groups than folds.
    """
    ids = store.ids("train")
    images = {i: store.image(i) for i in track(ids, "folds")}
    pairs = related_pairs(images, correlation, jump) + sibling_pairs(store, ids)
    groups = connected_groups(ids, pairs)
    n_groups = len(set(groups))
    if fewer and n_folds > n_groups:
        n_folds = n_groups
        print(f"{len(ids)} images in {n_groups} unrelated groups: folds lowered to {n_folds}")
    if not (fewer or n_folds >= 2) or n_folds > n_groups:
        raise UserError(f"n_folds={n_folds}: expected 2 to {n_groups}, the number of groups of images")
    rows = [store.row(i) for i in ids]
    together = cluster_images(store, groups, n_clusters) if n_clusters else groups
    folds = _split(_strata(rows, n_folds), together, n_folds, seed)
    return [
        FoldRow(row.image_id, int(fold), group, row.modality, row.height, row.width, row.nuclei)
        for row, fold, group in zip(rows, folds, groups, strict=True)
    ]


def _strata(rows: Sequence[StoreRow], n_folds: int) -> list[str]:
    """Name each image's stratum; a modality with a stratum of fewer images than folds becomes one."""
    counts = [row.nuclei for row in rows]
    quartiles = np.digitize(counts, np.quantile(counts, (0.25, 0.5, 0.75)))
    pairs = [(row.modality, int(quartile)) for row, quartile in zip(rows, quartiles, strict=True)]
    rare = {modality for (modality, _), n in Counter(pairs).items() if n < n_folds}
    strata = [modality if modality in rare else f"{modality} {quartile}" for modality, quartile in pairs]
    return strata if max(Counter(strata).values()) >= n_folds else ["all"] * len(strata)


def _split(strata: list[str], together: list[int], n_folds: int, seed: int) -> np.ndarray:
    """Return the number of each image's fold; images of one number in ``together`` share a fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = np.zeros(len(strata), int)
    if n_folds > 1:
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # a stratum may have fewer images than there are folds
            warnings.simplefilter("ignore", UserWarning)
            for fold, (_, held_out) in enumerate(splitter.split(strata, strata, together)):
                folds[held_out] = fold
    return folds


def related_pairs(images: dict[str, np.ndarray], correlation: float, jump: float) -> list[tuple[str, str]]:
    """Find pairs of images that show neighbouring or the same tissue.

    Two images of one size are neighbours when the last column (row) of one continues in the first
    of the other: each is the other's best match, the two profiles correlate by ``correlation`` or
    more, and the step between them is below ``jump`` times the step inside the first image.
    Two images are near-duplicates when their 16×16 thumbnails correlate by 0.995 or more.
    Images are ``uint8 (H, W)`` or ``(H, W, 3)``, by ImageId.
    """
    by_size: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for image_id, image in images.items():
        by_size[image.shape].append(image_id)
    pairs: list[tuple[str, str]] = []
    for ids in by_size.values():
        grey = np.stack([_to_grey(images[i]) for i in ids])
        thumbnails = np.stack([cv2.resize(g, (16, 16), interpolation=cv2.INTER_AREA).ravel() for g in grey])
        alike = _correlations(thumbnails, thumbnails, FLAT_THUMBNAIL) >= 0.995
        pixels = np.array([hash(g.tobytes()) for g in grey])
        copies = (pixels[:, None] == pixels) & (np.ptp(grey, axis=(1, 2)) > 0)  # empty images say nothing
        duplicates = np.argwhere(np.triu(alike | copies, 1))
        beside = _continuations(grey, correlation, jump)
        below = _continuations(grey.transpose(0, 2, 1), correlation, jump)
        pairs += [(ids[a], ids[b]) for a, b in np.concatenate([beside, below, duplicates])]
    return pairs


def sibling_pairs(store: Store, ids: list[str]) -> list[tuple[str, str]]:
    """Pair each image with the first that was cut from the same picture."""
    first: dict[str, str] = {}
    return [(first.setdefault(store.row(i).parent, i), i) for i in ids]


def connected_groups(ids: list[str], pairs: list[tuple[str, str]]) -> list[int]:
    """Return the number of each image's group: images that pairs connect, directly or not."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    positions = {image_id: n for n, image_id in enumerate(ids)}
    edges = np.array([(positions[a], positions[b]) for a, b in pairs], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(ids), len(ids)))
    return [int(group) for group in connected_components(graph, directed=False)[1]]


def _to_grey(image: np.ndarray) -> np.ndarray:
    return (image if image.ndim == 2 else image.mean(2)).astype(np.float32)


def _continuations(grey: np.ndarray, correlation: float, jump: float) -> np.ndarray:
    """Return (n, 2) pairs a, b of ``(N, H, W)`` images where b's first column continues a's last."""
    last, first = grey[:, :, -1], grey[:, :, 0]
    c = _correlations(last, first, FLAT_EDGE)
    np.fill_diagonal(c, 0)
    best = (c == c.max(1, keepdims=True)) & (c == c.max(0, keepdims=True)) & (c >= correlation)
    pairs = np.argwhere(best)
    inside = np.abs(grey[:, :, -2] - last).mean(1)
    across = np.abs(last[pairs[:, 0]] - first[pairs[:, 1]]).mean(1)
    return pairs[across < jump * np.maximum(inside[pairs[:, 0]], 0.3)]


def _correlations(a: np.ndarray, b: np.ndarray, flat: float) -> np.ndarray:
    """Return Pearson's correlation of each row of ``a`` with each of ``b``.

    It is 0 where the standard deviation of a row is below ``flat``.
    """
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    std_a, std_b = a.std(1), b.std(1)
    c = (a @ b.T) / a.shape[1] / np.maximum(np.outer(std_a, std_b), 1e-6)
    c[std_a < flat] = 0
    c[:, std_b < flat] = 0
    return c


def cluster_images(store: Store, groups: list[int], n_clusters: int) -> list[int]:
    """Return the number of each training image's cluster, of images that look alike.

    Ward's hierarchical clustering (scikit-learn) of standardised ``image_features``; modalities never share
    a cluster, and the images of a group always do.
    """
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.preprocessing import StandardScaler

    ids = store.ids("train")
    features = np.array([image_features(store.image(i), store.labels(i)) for i in track(ids, "kinds")])
    modalities = np.array([store.row(i).modality for i in ids])
    one_hot = (modalities[:, None] == np.unique(modalities)).astype(float)
    table = np.hstack([StandardScaler().fit_transform(features), 100 * one_hot])
    names, members = np.unique(groups, return_inverse=True)
    means = np.stack([table[members == g].mean(0) for g in range(len(names))])
    clusters = AgglomerativeClustering(min(n_clusters, len(names))).fit_predict(means)
    return [int(k) for k in clusters[members]]


def image_features(image: np.ndarray, labels: np.ndarray) -> list[float]:
    """Describe an image, ``uint8 (H, W)`` or ``(H, W, 3)``, and its label map by figures.

    Returns:
        Median and range of each colour, contrast of nuclei to their surroundings, sharpness, and the
        logarithms of the image's area, the nuclei's mean diameter and their share of the area.
    """
    colours = np.broadcast_to(np.atleast_3d(image).astype(np.float32), (*image.shape[:2], 3))
    low, median, high = np.percentile(colours, (5, 50, 95), axis=(0, 1))
    grey, inside = colours.mean(2), labels > 0
    deviation = float(grey.std()) + 1
    contrast = 0.0
    if 0 < inside.sum() < inside.size:
        contrast = (grey[inside].mean() - grey[~inside].mean()) / deviation
    sharpness = np.log(np.abs(np.diff(grey, axis=0)).mean() / deviation + 1e-3)
    count = max(1, np.unique(labels[inside]).size)
    diameter = equivalent_diameter(max(1, inside.sum()) / count)
    sizes = np.log([inside.size, diameter, inside.mean() + 1e-3])
    return [*median, *(high - low), contrast, sharpness, *sizes]


def write_folds(path: str | Path, rows: Sequence[FoldRow]) -> None:
    """Write a folds file, completely or not at all, and its checksum beside it, as ``sha256sum`` does."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(astuple, rows))
    data = table.getvalue().encode()
    with atomic_write(checksum_file(path)) as part:
        part.write_text(f"{hashlib.sha256(data).hexdigest()}  {Path(path).name}\n")
    with atomic_write(path) as part:
        part.write_bytes(data)


def checksum_file(path: str | Path) -> Path:
    """Return the file beside a folds file that holds its checksum."""
    return Path(f"{path}.sha256")


def read_folds(path: str | Path) -> list[FoldRow]:
    """Read a folds file.

    Raises:
        UserError: the file is missing, is not of this form, or differs from the checksum beside it, if there
            is one; or a row is damaged: a number is none, an image comes twice, or a group is split.
    """
    if not Path(path).is_file():
        raise UserError(f"no folds file at {path}; make it with ./run.sh folds data=NAME")
    anew = "restore it, or make it anew with ./run.sh folds data=NAME force=true"
    try:
        with open(path, newline="", encoding="utf-8") as f:
            columns, *lines = list(csv.reader(f)) or [[]]
    except (UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path} is no CSV file ({e}); {anew}") from e
    if tuple(columns) != COLUMNS:
        raise UserError(f"{path}: expected the columns {','.join(COLUMNS)}, got {columns}; {anew}")
    rows: list[FoldRow] = []
    fold_of_group: dict[int, int] = {}
    images: set[str] = set()
    for number, line in enumerate(lines, 2):
        numbers = [*line[1:3], *line[4:]]
        if len(line) != len(COLUMNS) or not all(line) or not all(map(NUMBER.fullmatch, numbers)):
            raise UserError(
                f"{path}, row {number}: expected {','.join(COLUMNS)}, got {','.join(line)[:80]}; {anew}"
            )
        fold, group, height, width, nuclei = map(int, numbers)
        if line[0] in images or fold_of_group.setdefault(group, fold) != fold:
            problem = f"group {group} is in two folds" if line[0] not in images else f"{line[0]} comes twice"
            raise UserError(f"{path}, row {number}: {problem}; {anew}")
        images.add(line[0])
        rows.append(FoldRow(line[0], fold, group, line[3], height, width, nuclei))
    checksum = checksum_file(path)
    if checksum.is_file() and checksum.read_text(errors="replace").partition(" ")[0] != folds_sha256(path):
        raise UserError(
            f"{path} differs from {checksum}; {anew}, or delete {checksum.name} to use it as it is"
        )
    return rows


def folds_sha256(path: str | Path) -> str:
    """Return the hash of a folds file, which runs keep so that runs on other folds are never merged."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
