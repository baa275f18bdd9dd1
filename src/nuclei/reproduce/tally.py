"""One system's scores on the images that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nuclei.inference.measure import CLASS_PREFIX
from nuclei.metrics import confusion, precision_at
from nuclei.reproduce.measures import accuracy, best_v_scores, confusion_of_pixels, pixel_scores


@dataclass
class Tally:
    """Counts image by image, then scores all.

    Attributes:
        channels: names of the system's maps.
        membranes: whether V_rand and V_info are wanted, which take a while.
    """

    channels: Sequence[str]
    membranes: bool = False
    precision: dict[str, np.ndarray] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    iou: list[float] = field(default_factory=list)
    inside: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the classes of pixels, background first."""
        found = [c.removeprefix(CLASS_PREFIX) for c in self.channels if c.startswith(CLASS_PREFIX)]
        return ["background", *(found or ["nucleus"])]

    def add(
        self, image_id: str, maps: np.ndarray, labels: np.ndarray, truth: np.ndarray, classes: np.ndarray
    ) -> None:
        """Count one image.

        Args:
            image_id: its name.
            maps: ``uint8 (C, H, W)``.
            labels: ``int32 (H, W)`` that post-processing made of them.
            truth: ``int32 (H, W)``.
            classes: ``(N + 1,)``, the class of each true nucleus.
        """
        self.precision[image_id] = precision_at(confusion(truth, labels))
        n = len(self.classes)
        true, found = (classes[truth], class_map(maps, self.channels)) if n > 2 else (truth > 0, labels > 0)
        counted = confusion_of_pixels(true, found, n)
        self.pixels = counted if self.pixels is None else self.pixels + counted
        both = confusion_of_pixels(truth > 0, labels > 0, 2)
        self.iou.append(float(np.nan_to_num(pixel_scores(both)["IoU"][1], nan=1.0)))
        if self.membranes:
            self.inside.append((maps[list(self.channels).index("nucleus")], truth))

    def scores(self) -> dict[str, float]:
        """All measures by name; those by class are means over the classes that are not background."""
        assert self.pixels is not None
        precision = np.stack(list(self.precision.values()))
        found = {
            "mAP": float(precision.mean()),
            "AP50": float(precision[:, 0].mean()),
            "accuracy": accuracy(self.pixels),
            "mean IoU": float(np.mean(self.iou)),
            **{name: float(np.nanmean(of[1:])) for name, of in pixel_scores(self.pixels).items()},
        }
        if self.membranes:
            found |= dict(zip(("V_rand", "V_info"), best_v_scores(self.inside), strict=True))
        return found

    def by_class(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and IoU of each class of pixels."""
        assert self.pixels is not None
        scores = pixel_scores(self.pixels)
        return {c: {name: float(of[k]) for name, of in scores.items()} for k, c in enumerate(self.classes)}


def class_map(maps: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """The likeliest class of each pixel, 0 for background: ``int64 (H, W)``; the first of equals.

    Args:
        maps: ``uint8 (C, H, W)``, exclusive.
        channels: ``background`` and the classes among them.
    """
    order = [list(channels).index("background")]
    order += [n for n, c in enumerate(channels) if c.startswith(CLASS_PREFIX)]
    return np.argmax(maps[order], axis=0)
