"""The demo data set: synthetic images in the competition's layout and modalities.

Label maps of nuclei are drawn first, and from them the image under each kind of microscope.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from skimage.measure import regionprops_table

from nuclei.atomic import atomic_folder
from nuclei.data.preprocessing import round_to_uint8
from nuclei.data.sources import Split
from nuclei.data.sources.dsb2018 import Dsb2018, Dsb2018Item
from nuclei.progress import track
from nuclei.submission import rle

Rng = np.random.Generator


def draw_nuclei(rng: Rng, shape: tuple[int, int], count: int, radius: float, touching: float) -> np.ndarray:
    """Scatter nuclei of about ``radius`` pixels over an image; return its label map, ``int32 (H, W)``.

    A nucleus is placed beside an earlier one with the probability ``touching``; those that find no room are
    left out. Each is one connected piece of at least 20 pixels.
    """
    labels = np.zeros(shape, np.int32)
    placed: list[tuple[float, float, float]] = []
    for _ in range(count):
        r = radius * float(np.clip(rng.normal(1, 0.2), 0.6, 1.6))
        x, y = _centre(rng, shape, r, placed, touching)
        if _place(labels, _outline(rng, x, y, r, (0.75, 1.0)), len(placed) + 1):
            placed.append((x, y, r))
    return labels


@dataclass(frozen=True)
class NucleusKind:
    """How the nuclei of one class look.

    Attributes:
        radius: mean, in pixels.
        width: least and greatest width as a share of the length.
        stain: mean density of the stain; 1 is usual.
        aligned: whether those of one image point in one direction.
    """

    radius: float
    width: tuple[float, float]
    stain: float
    aligned: bool = False


def draw_tissue(
    rng: Rng, shape: tuple[int, int], kinds: Sequence[NucleusKind], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw an H&E section with nuclei of several kinds, each kind in patches of its own.

    The kinds are those of the classes 1, 2 and so on. Nuclei that find no room are left out.

    Returns:
        Label map ``int32 (H, W)``, 1..N; classes ``int64 (N + 1,)``, 0 for background; and RGB
        ``uint8 (H, W, 3)``.
    """
    labels, classes = np.zeros(shape, np.int32), [0]
    small = (-(-shape[0] // 8), -(-shape[1] // 8))  # patches are wide, so they are drawn at an eighth
    share = np.stack([_texture(rng, small, 12.0) + 0.4 * rng.normal() for _ in kinds])
    direction = rng.uniform(0, np.pi)
    for _ in range(count):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        chances = np.exp(2.5 * share[:, int(y) // 8, int(x) // 8])
        number = int(rng.choice(len(kinds), p=chances / chances.sum()))
        kind = kinds[number]
        r = kind.radius * float(np.clip(rng.normal(1, 0.15), 0.6, 1.6))
        turn = direction + rng.normal(0, 0.2) if kind.aligned else None
        if _place(labels, _outline(rng, x, y, r, kind.width, turn), len(classes)):
            classes.append(number + 1)
    stains = (kinds[k - 1].stain * np.clip(rng.normal(1, 0.12), 0.7, 1.3) for k in classes[1:])
    strength = np.array([0.0, *stains])
    return labels, np.array(classes), draw_histology(rng, labels, _density(rng, labels, strength))


def _place(labels: np.ndarray, outline: np.ndarray, number: int) -> bool:
    """Draw a nucleus into ``labels`` where nothing is yet, if there is room; return whether there was."""
    x, y = np.floor(outline.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 2
    full = np.zeros((bottom - y, right - x), np.uint8)
    cv2.fillPoly(full, [np.round((outline - (x, y)) * 16).astype(np.int32)], 1, shift=4)
    window = labels[max(y, 0) : max(bottom, 0), max(x, 0) : max(right, 0)]
    pixels = full[max(-y, 0) :, max(-x, 0) :][: window.shape[0], : window.shape[1]].astype(bool)
    free = pixels & (window == 0)
    if free.sum() < max(20, 0.75 * pixels.sum()):
        return False
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if stats[largest, cv2.CC_STAT_AREA] < 20:
        return False
    window[pieces == largest] = number
    return True


def _centre(
    rng: Rng, shape: tuple[int, int], r: float, placed: list[tuple[float, float, float]], touching: float
) -> tuple[float, float]:
    if placed and rng.random() < touching:
        x, y, other = placed[int(rng.integers(len(placed)))]
        angle, gap = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.1) * (r + other)
        return x + gap * np.cos(angle), y + gap * np.sin(angle)
    return rng.uniform(0, shape[1]), rng.uniform(0, shape[0])


def _outline(
    rng: Rng, x: float, y: float, r: float, width: tuple[float, float], turn: float | None = None
) -> np.ndarray:
    """Return the slightly uneven outline of an ellipse, x and y, float64 (48, 2); see ``NucleusKind.width``.

    ``turn`` is its direction in radians, by default any.
    """
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    unevenness = 1 + sum(rng.normal(0, 0.05 / k) * np.cos(k * t + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    stretch, random_turn = rng.uniform(*width), rng.uniform(0, np.pi)
    turn = random_turn if turn is None else turn
    u, v = r * unevenness * np.cos(t) / stretch**0.5, r * unevenness * np.sin(t) * stretch**0.5
    return np.stack([x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)], 1)


def shape_classes(labels: np.ndarray) -> list[int]:
    """Return the class of each nucleus by its shape: 1 small, 2 round, 3 long.

    Small nuclei have less than 0.6 of the median area in the image; long ones are 1.3 times as long as wide.
    """
    if not labels.any():
        return []
    shape = regionprops_table(labels, properties=("area", "axis_major_length", "axis_minor_length"))
    small = shape["area"] < 0.6 * np.median(shape["area"])
    long = shape["axis_major_length"] > 1.3 * shape["axis_minor_length"]
    return [int(k) for k in np.where(small, 1, np.where(long, 3, 2))]


def _texture(rng: Rng, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Return smooth noise, float32 (H, W), with mean 0, deviation 1 and grains of so many pixels."""
    a = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), grain)
    return (a - a.mean()) / max(float(a.std()), 1e-6)


def _stain_density(rng: Rng, labels: np.ndarray, spread: float) -> np.ndarray:
    """Return the density of the stain, float32 (H, W), which differs between nuclei by ``spread``."""
    strength = np.concatenate([[0], np.clip(rng.normal(1, spread, int(labels.max(initial=0))), 0.45, 1.8)])
    return _density(rng, labels, strength)


def _density(rng: Rng, labels: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return the density of the stain, float32 (H, W): domed, grainy, and of each label's strength."""
    inside = (labels > 0).astype(np.uint8)
    dome = np.minimum(cv2.distanceTransform(inside, cv2.DIST_L2, 3) / 4, 1) * 0.25 + 0.75
    grain = 1 + 0.12 * _texture(rng, labels.shape, 1.5)
    return cv2.GaussianBlur((strength[labels] * dome * grain).astype(np.float32), (0, 0), 0.8)


def draw_fluorescence(rng: Rng, labels: np.ndarray) -> np.ndarray:
    """Draw bright nuclei on a dark, unevenly lit background, dim or bright; ``uint8 (H, W, 3)``."""
    gain = rng.uniform(22, 60) if rng.random() < 0.4 else rng.uniform(80, 190)
    light = 1 + 0.15 * _texture(rng, labels.shape, 60)
    haze = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 9) * gain * 0.12
    debris = 0.5 * gain * np.maximum(_texture(rng, labels.shape, 2.0) - 3.6, 0)
    ground = rng.uniform(4, 18)
    noise = rng.normal(0, 0.8 + 0.025 * gain, labels.shape)
    grey = (ground + haze + gain * _stain_density(rng, labels, 0.25) + debris) * light + noise
    return round_to_uint8(grey[..., None] * np.ones(3))


def draw_histology(rng: Rng, labels: np.ndarray, density: np.ndarray | None = None) -> np.ndarray:
    """Draw purple nuclei in a pink stroma, on white or on purple; ``uint8 (H, W, 3)``.

    ``density`` is that of the stain, float32 (H, W); by default all nuclei are stained about alike.
    """
    on_white = rng.random() < 0.5
    ground = np.array((238, 234, 240) if on_white else (196, 168, 220), np.float32)
    stroma = np.array((60, 105, 55) if on_white else (30, 45, 18), np.float32)
    fibres = np.clip(0.35 + 0.3 * _texture(rng, labels.shape, 5.0), 0, 1)[..., None]
    stain = np.array((135, 150, 75), np.float32) * rng.uniform(0.75, 1.05)
    nucleus = (_stain_density(rng, labels, 0.15) if density is None else density)[..., None]
    colour = ground - stroma * fibres * (1 - 0.6 * np.minimum(nucleus, 1)) - stain * nucleus
    noise = rng.normal(0, 3, (*labels.shape, 3))
    return round_to_uint8(colour + noise + 5 * _texture(rng, labels.shape, 50)[..., None])


def draw_brightfield(rng: Rng, labels: np.ndarray) -> np.ndarray:
    """Draw dark nuclei inside grey cells on a light background; ``uint8 (H, W, 3)``."""
    distance = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 3)
    reach = 9 + 3 * _texture(rng, labels.shape, 8.0)
    cell = cv2.GaussianBlur((distance < reach).astype(np.float32), (0, 0), 1.0)
    granules = 10 * np.maximum(_texture(rng, labels.shape, 1.2), 0) * cell
    grey = 228 - 45 * cell - granules - rng.uniform(75, 105) * _stain_density(rng, labels, 0.12)
    return round_to_uint8((grey + rng.normal(0, 3, labels.shape))[..., None] * np.ones(3))


SIZES = ((256, 256), (256, 320), (192, 256), (256, 256), (300, 300))


@dataclass(frozen=True)
class Specimen:
    """How one kind of image is drawn: by what, with which mean radius in pixels and number of nuclei."""

    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    radius: float
    count: int


# Magnifications as in the competition.
SPECIMENS = (
    Specimen(draw_fluorescence, 7.0, 70),
    Specimen(draw_fluorescence, 11.0, 40),
    Specimen(draw_histology, 11.0, 45),
    Specimen(draw_fluorescence, 18.0, 16),
    Specimen(draw_brightfield, 8.0, 30),
    Specimen(draw_fluorescence, 6.0, 140),
    Specimen(draw_histology, 15.0, 22),
    Specimen(draw_fluorescence, 9.0, 5),
)


class DemoItem(Dsb2018Item):
    """An image of the demo, whose nuclei have classes."""

    def classes(self, labels: np.ndarray) -> list[int]:
        """Return 1 for small, 2 for round, 3 for long nuclei; see ``shape_classes``."""
        return shape_classes(labels)


class Demo(Dsb2018):
    """The competition's layout, with files that are drawn when they are first needed; see ``draw_demo``."""

    def __init__(self, root: str | Path, seed: int, n_train: int, n_test: int) -> None:
        super().__init__(root)
        self.seed, self.n_train, self.n_test = seed, n_train, n_test

    def fetch(self) -> None:
        if not self.root.exists():
            draw_demo(self.root, self.seed, self.n_train, self.n_test)

    def items(self, split: Split) -> list[Dsb2018Item]:
        return [DemoItem(**vars(item)) for item in super().items(split)]


def draw_demo(root: Path, seed: int, n_train: int, n_test: int) -> None:
    """Draw a data set in Kaggle's layout: images, a mask for each nucleus, and the CSV files.

    Writes ``stage1_train/``, ``stage1_test/``, ``stage1_train_labels.csv``,
    ``stage1_sample_submission.csv`` and ``stage1_solution.csv``; all of it or nothing. The folder must not
    exist yet; the same seed gives the same pixels.

    Raises:
        UserError: the folder cannot be written.
    """
    jobs = [("train", n) for n in range(n_train)] + [("test", n) for n in range(n_test)]
    tables: dict[str, list[list[str]]] = {"train": [], "test": []}
    with atomic_folder(root, "data.root=FOLDER") as part:
        for split, n in track(jobs, "draw demo images"):
            tables[split] += _draw(part, split, n, seed)
        _write_tables(part, tables)


def _draw(root: Path, split: str, n: int, seed: int) -> list[list[str]]:
    """Draw one image with its masks and return its rows of the solution."""
    rng = np.random.default_rng((seed, split == "test", n))
    specimen = SPECIMENS[n % len(SPECIMENS)]
    shape = SIZES[int(rng.integers(len(SIZES)))]
    count = max(1, round(specimen.count * rng.uniform(0.5, 1.4)))
    radius = specimen.radius * rng.uniform(0.85, 1.15)
    labels = draw_nuclei(rng, shape, count, radius, touching=0.45)
    image = specimen.draw(rng, labels)
    image_id = hashlib.sha256(f"{seed} {split} {n}".encode()).hexdigest()
    folder = root / f"stage1_{split}" / image_id
    _write_png(folder / "images" / f"{image_id}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGRA))
    if split == "train":
        for label in range(1, int(labels.max(initial=0)) + 1):
            name = hashlib.sha256(f"{image_id} {label}".encode()).hexdigest()
            _write_png(folder / "masks" / f"{name}.png", np.where(labels == label, 255, 0).astype(np.uint8))
    texts = [rle.to_text(runs) for runs in rle.encode(labels)] or [""]
    return [[image_id, text, str(shape[0]), str(shape[1]), "Public"] for text in texts]


def _write_png(path: Path, a: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", a, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())


def _write_tables(root: Path, tables: dict[str, list[list[str]]]) -> None:
    header = ["ImageId", "EncodedPixels", "Height", "Width", "Usage"]
    ids = dict.fromkeys(row[0] for row in tables["test"])
    files: dict[str, list[list[str]]] = {
        "stage1_solution.csv": [header, *tables["test"]],
        "stage1_train_labels.csv": [header[:2], *(row[:2] for row in tables["train"])],
        "stage1_sample_submission.csv": [header[:2], *([i, ""] for i in ids)],
    }
    for name, rows in files.items():
        with open(root / name, "w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows(rows)
