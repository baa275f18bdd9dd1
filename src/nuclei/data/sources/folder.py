"""A user's own images beside their annotations: label maps, QuPath's GeoJSON, or COCO.

``images/`` beside ``masks/`` or ``labels/``, ``NAME.tif`` beside ``NAME_masks.tif`` as Cellpose has them, or
beside ``NAME.geojson``, or all annotations in one COCO file; see docs/own-data.md.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nuclei.data.annotations import (
    LABEL_SUFFIXES,
    coco_labels,
    nuclei_of,
    read_coco,
    read_geojson,
    read_label_map,
)
from nuclei.data.image_files import (
    ANNOTATIONS,
    PICKLE,
    PICTURES,
    image_name,
    is_mask_name,
    label_key,
    walk_files,
)
from nuclei.data.image_io import READABLE, read_images
from nuclei.data.image_stacks import PlaneSelection, SourceImage
from nuclei.data.sources import Item, Source, Split
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.metrics import equivalent_diameter

IMAGES = "images"
OTHERS = ("overlays", "rois", "zarr")
"""Folders of pictures of results, which ``predict`` writes."""
EXPECTED = "expected images/ beside masks/ or labels/, NAME_masks.tif or NAME.geojson, or a COCO file"
ZOOM_LIMITS = (0.35, 2.5)
"""Least and greatest zoom to the diameter of prediction, as in ``Augment``."""


@dataclass(frozen=True)
class AnnotatedImage(Item):
    """An image of one's own.

    Attributes:
        annotation: a label map, a GeoJSON file, or the COCO file.
        channel: see ``Folder``.
        entries: of the COCO file, the image's own and its annotations; empty for other annotations.
    """

    image: Path
    annotation: Path
    channel: str | int | None = None
    entries: tuple[Mapping[str, Any], ...] = ()

    def read_image(self) -> np.ndarray:
        return np.asarray(_read(self.image, self.channel).shown)

    def read_labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """Return ``int32 (H, W)``, numbered without gaps.

        Beside what ``merge_pixels`` and ``nuclei_of`` count: warnings of the image's reader.
        """
        counts.update(f"images: {warning}" for warning in _read(self.image, self.channel).warnings)
        if self.entries:
            return coco_labels(self.entries, shape, counts, f"{self.annotation}, {self.image.name}")
        if self.annotation.suffix.lower() == ".geojson":
            return read_geojson(self.annotation, shape, counts)
        labels = read_label_map(self.annotation)
        if labels.shape != shape:
            sizes = [f"{width}x{height}" for height, width in (labels.shape, shape)]
            raise UserError(f"{self.annotation} has {sizes[0]} pixels, {self.image} has {sizes[1]}")
        return nuclei_of(labels, str(self.annotation), counts)


@lru_cache(maxsize=1)
def _read(path: Path, channel: str | int | None) -> SourceImage:
    """Read the one image of a file."""
    images = read_images(path, PlaneSelection(channel))
    image = next(images)
    if next(images, None) is not None:
        raise UserError(f"{path} holds several images, and one annotation is of one; save each as a file")
    return image


@dataclass(frozen=True)
class _Files:
    """What lies below a folder, by the name that an image shares with its annotation."""

    images: dict[str, Path]
    annotations: dict[str, Path]
    pickles: set[str]


class Folder(Source):
    """Images of one's own with their annotations; all of them are training images.

    ``channel`` is that of the images, by name or number from 1; None for the one that ``predict`` takes.
    """

    def __init__(self, root: str | Path, channel: str | int | None = None) -> None:
        super().__init__(Path(root).expanduser())
        self.channel = channel

    def fetch(self) -> None:
        """Check that the folder is there, and does not hold a training and a test set."""
        if not self.root.is_dir():
            raise UserError(f"no folder {self.root}; name that of your images: data.root=FOLDER")
        if (self.root / "train").is_dir() and (self.root / "test").is_dir():
            raise UserError(f"{self.root} has train/ and test/; name one: data.root={self.root / 'train'}")

    def state(self) -> str:
        """Return a hash of the names, sizes and times of the files."""
        lines = [
            f"{file.relative_to(self.root)} {(stat := file.stat()).st_size} {stat.st_mtime_ns}"
            for file in _walk(self.root)
            if file.suffix.lower() in (*READABLE, ".npy", ".geojson", ".json")
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def items(self, split: Split) -> list[AnnotatedImage]:
        """Return all images, sorted by ImageId; none for ``test``.

        Raises:
            UserError: there are none, or an image has no annotation, two, or the name of another.
        """
        if split == "test":
            return []
        files = _sort_files(self.root)
        items = _coco_items(self.root, files, self.channel) or _items(files, self.channel)
        if not items:
            raise UserError(f"no images below {self.root}; {EXPECTED}")
        names = Counter(item.image_id for item in items)
        for item in items:
            if names[item.image_id] > 1:
                raise UserError(f"{item.image} has the name of another image, {item.image_id}; rename one")
        return sorted(items, key=lambda item: item.image_id)


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, but for hidden ones and pictures of results."""
    for file in walk_files(root, lambda folder: folder.name not in OTHERS):
        if file.exists():
            yield file


def _sort_files(root: Path) -> _Files:
    files = _Files({}, {}, set())
    for file in _walk(root):
        inner, ending = file.relative_to(root), file.suffix.lower()
        folders = inner.parts[:-1]
        key = label_key(Path(*(part for part in folders if part not in (IMAGES, *ANNOTATIONS)), inner.name))
        annotated = any(part in ANNOTATIONS for part in folders) or is_mask_name(file)
        if ending == ".geojson" or (ending in LABEL_SUFFIXES and annotated and IMAGES not in folders):
            _add(files.annotations, key, file, "annotations of one image; keep one of them")
        elif file.name.endswith(PICKLE):
            files.pickles.add(key.removesuffix(PICKLE.removesuffix(".npy")))
        elif ending in READABLE and not file.stem.endswith(PICTURES):
            if annotated and IMAGES not in folders:
                raise UserError(
                    f"{file}: {ending} changes numbers or colours; save label maps as TIFF or PNG"
                )
            _add(files.images, key, file, "images of one name; rename one of them")
    return files


def _add(files: dict[str, Path], key: str, file: Path, problem: str) -> None:
    if (other := files.setdefault(key, file)) != file:
        raise UserError(f"{other} and {file} are two {problem}")


def _items(files: _Files, channel: str | int | None) -> list[AnnotatedImage]:
    """Return images with the annotation of their name."""
    if lonely := [file for key, file in files.annotations.items() if key not in files.images]:
        raise UserError(f"{_count(lonely, 'annotation')} without an image, first {lonely[0]}; {EXPECTED}")
    if lonely := [file for key, file in files.images.items() if key not in files.annotations]:
        advice = f"{EXPECTED}; an image without nuclei needs an empty one"
        if files.pickles & (files.images.keys() - files.annotations.keys()):
            advice = f"{PICKLE} files may hold code and are not read: save masks as PNG or TIFF in Cellpose"
        raise UserError(f"{_count(lonely, 'image')} without an annotation, first {lonely[0]}; {advice}")
    return [
        AnnotatedImage(_image_id(Path(key + file.suffix)), "train", file, files.annotations[key], channel)
        for key, file in files.images.items()
    ]


def _coco_items(root: Path, files: _Files, channel: str | int | None) -> list[AnnotatedImage]:
    """Return the images of the COCO file below a folder; none where there is no such file."""
    listed = [
        (path, entries) for path in _walk(root) if path.suffix == ".json" and (entries := read_coco(path))
    ]
    if not listed:
        return []
    path, entries = listed[0]
    if others := [other for other, _ in listed[1:]] + [*files.annotations.values()]:
        raise UserError(f"{path} and {others[0]} both hold annotations; keep one of them")
    places = [
        place for folder in (path.parent, root, path.parent.parent) for place in (folder, folder / IMAGES)
    ]
    found = {
        name: next((place / name for place in places if (place / name).is_file()), None) for name in entries
    }
    if missing := [name for name, file in found.items() if file is None]:
        raise UserError(
            f"{path} lists {_count(missing, 'image')} that {root} lacks, first {missing[0]}; "
            "put them beside it, or into images/"
        )
    used = {file.resolve() for file in found.values() if file}
    if lonely := [file for file in files.images.values() if file.resolve() not in used]:
        raise UserError(
            f"{_count(lonely, 'image')} not in the list of {path}, first {lonely[0]}; remove them"
        )
    return [
        AnnotatedImage(_image_id(Path(name)), "train", file, path, channel, tuple(entries[name]))
        for name, file in found.items()
        if file
    ]


def _image_id(path: Path) -> str:
    """Return a path as one word that can stand in a CSV."""
    return image_name(path).replace("/", "__")


def _count(found: Sequence[object], noun: str) -> str:
    return f"{len(found)} {noun}{'s' if len(found) > 1 else ''}"


@dataclass(frozen=True)
class TrainingSizes:
    """What the sizes of images and nuclei make of a training.

    Attributes:
        diameter: median over the images of the nuclei's mean diameter, in pixels.
        crop: side of the crops in pixels.
        scale: least and greatest magnification of crops that vary around the images' own size.
    """

    diameter: float
    crop: int
    scale: tuple[float, float]


def choose_sizes(store: Store, diameter: float | None) -> TrainingSizes:
    """Choose the crops of a training by its images.

    Nuclei are magnified to half and to twice the ``diameter`` to which images are zoomed in prediction, or
    around their own size where that is None; crops are as large as the magnified images, in steps of 64
    pixels from 128 to 256.

    Raises:
        UserError: there is no nucleus.
    """
    rows = [store.row(image_id) for image_id in store.ids("train")]
    areas = [np.count_nonzero(store.labels(row.image_id)) / row.nuclei for row in rows if row.nuclei]
    if not areas:
        raise UserError(f"{store.path} has no nuclei to learn from; annotate some")
    own = float(np.median(equivalent_diameter(np.array(areas))))
    zoom = 1.0 if diameter is None else float(np.clip(diameter / own, *ZOOM_LIMITS))
    side = zoom * float(np.median([min(row.height, row.width) for row in rows]))
    crop = int(np.clip(64 * np.ceil(side / 64), 128, 256))
    return TrainingSizes(own, crop, (round(zoom / 2, 2), round(zoom * 2, 2)))
