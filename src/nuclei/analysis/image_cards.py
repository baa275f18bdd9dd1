"""The pictures of the report: the images that were segmented worst and best, and the labels in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.analysis.error_types import KINDS, find_errors
from nuclei.analysis.findings import Findings, Subject
from nuclei.analysis.label_suspects import Suspect
from nuclei.analysis.pictures import Picture, cut, picture
from nuclei.data.sources.dsb2018 import Item
from nuclei.data.store import Store

WINDOW = 96
"""Side of the window around a label in doubt, in pixels."""


@dataclass(frozen=True)
class Card:
    """A picture with its texts: the dialog's title, a few words in bold, and a line."""

    title: str
    head: str
    text: str
    picture: Picture


def ranked(found: Sequence[Findings], number: int) -> tuple[list[Findings], list[Findings]]:
    """Return the worst and the best images, the most telling first: of equal scores those with more nuclei.

    No image is in both lists.
    """
    order = sorted(found, key=lambda f: (f.precision.mean(), -f.nuclei[0]))
    best = sorted(found, key=lambda f: (-f.precision.mean(), -f.nuclei[0]))
    half = min(number, len(found) // 2)
    worst = order[: min(number, len(found) - half)]
    names = {f.image_id for f in worst}
    return worst, [f for f in best if f.image_id not in names][:half]


def card(store: Store, subject: Subject, found: Findings) -> Card:
    """Show a whole image."""
    truth, prediction = store.labels(found.image_id), subject.labels(found.image_id)
    drawn = picture(store.image(found.image_id), truth, prediction, find_errors(truth, prediction))
    wrong = [f"{n} × {kind}" for kind, n in found.counts.items() if n and kind != KINDS[-1]]
    facts = f"{found.nuclei[0]} true, {found.nuclei[1]} predicted"
    return Card(found.image_id, f"{found.precision.mean():.3f}", ", ".join([facts, *wrong]), drawn)


def suspect_cards(store: Store, subject: Subject, listed: Iterable[Suspect]) -> list[Card]:
    """Show the surroundings of labels in doubt; each image is segmented once."""
    listed = list(listed)
    drawn: dict[Suspect, Card] = {}
    for image_id in dict.fromkeys(s.image_id for s in listed):
        image, truth, prediction = store.image(image_id), store.labels(image_id), subject.labels(image_id)
        errors = find_errors(truth, prediction)
        for s in (s for s in listed if s.image_id == image_id):
            at = cut(truth, s.y, s.x, WINDOW)
            small = picture(image, truth, prediction, errors, 2 * WINDOW, at)
            text = f"{s.kind}, {s.area} px at ({s.x}, {s.y})"
            drawn[s] = Card(image_id, f"{s.suspicion:.2f}", text, small)
    return [drawn[s] for s in listed]


def mask_file(item: Item, nucleus: np.ndarray) -> str:
    """Find the mask file that a nucleus came from.

    Args:
        item: the image in the competition's files.
        nucleus: bool (H, W), the nucleus in the store's label map.

    Returns:
        The file's name; of overlapping masks the one that fits best.
    """
    best, name = 0.0, "none of its masks"
    for member in item.masks:
        data = np.frombuffer(item.read(member), np.uint8)
        mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        if mask is None or mask.shape != nucleus.shape:
            continue  # ``prepare`` left it out, and counted it
        iou = ((mask > 0) & nucleus).sum() / ((mask > 0) | nucleus).sum()
        if iou > best:
            best, name = float(iou), member.rsplit("/", 1)[-1]
    return name
