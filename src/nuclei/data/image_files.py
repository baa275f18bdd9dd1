"""Which image files a folder holds, and what their images are called."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from nuclei.data.image_io import READABLE, SUFFIXES, ZARR
from nuclei.errors import UserError

ELSEWHERE = (
    *(".oib", ".oif", ".oir", ".vsi", ".dv", ".r3d", ".zvi", ".ims", ".mrxs", ".sld", ".dcm", ".heic"),
    *(".flex", ".vms", ".xdce", ".mvd2", ".ipl", ".nrrd"),
)
"""Endings of images that are not read."""
PAGE = re.compile(r"(_[a-z]+\d+)+$")
"""End of the name of one of several images in a file, such as _page2 or _A1_field1, in lower case."""
PACKED = (".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z", ".rar")
UNPACK = ": unpack it first"
JUNK = ("__MACOSX", "@eaDir", "System Volume Information", "$RECYCLE.BIN")
MASK_WORDS = ("_cp_masks", "_masks", "_mask", "_labels", "_label")
"""What Cellpose and others add to the name of a label map."""
PICTURES = ("_flows", "_cp_output", "_cp_outlines", "_outlines", "_dP", "_overlay")
"""Ends of the names of pictures that Cellpose and others put beside images."""
IMAGE_WORD = "_img"
"""What Cellpose adds to the name of an image."""
PICKLE = "_seg.npy"
"""End of the name of Cellpose's own files."""
ANNOTATIONS = ("masks", "labels", "annotations", "geojson")
"""Folders of annotations."""
LONGEST = 180
"""Bytes of the longest name; file systems take 255, and endings and temporary names come on top."""
TABLE = "images.csv"
"""The table by which a folder is known to be a prediction."""
File = Path | str
"""A file of this machine, or an address in a store, such as ``s3://bucket/a.png``."""


@dataclass
class ImageFiles:
    """What a search found.

    Attributes:
        files: each file by the name of its images, which has the folders below the input in it.
        refused: a line for each file that is an image and is not read.
        notes: lines on what was left out.
    """

    files: dict[str, File] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_images(path: Path, output: Path | None = None) -> ImageFiles:
    """Find the image files below a folder, or take the one file that ``path`` is.

    Linked folders are searched too, each folder once. Hidden files, what macOS and Windows leave behind,
    annotations beside the images, and predictions of this program are left out, as is the folder ``output``
    of the results.

    Raises:
        UserError: there is nothing at ``path``, or no image.
    """
    if not path.exists():
        raise UserError(f"no file or folder at {path}")
    found = ImageFiles()
    if path.is_file() or path.suffix.lower() == ZARR:
        return single_file(path, path)
    files: dict[PurePath, File] = {}
    listed = sorted(walk_files(path, lambda folder: _is_searched(folder, output, found), found.refused))
    others = [file for file in listed if is_image(file) and file.stem.endswith((*MASK_WORDS, *PICTURES))]
    images = {label_key(file) for file in {*listed} - {*others} if is_image(file)}
    if beside := [file for file in others if label_key(file) in images]:
        found.notes.append(f"left out: {len(beside)} label maps beside images, such as {beside[0]}")
    for file in sorted({*listed} - {*beside}):
        if file.suffix.lower() in SUFFIXES and file.exists() and not file.is_file():
            found.refused.append(f"{file} is no file but a pipe or a device")  # reading it may never end
        elif problem := why_unread(file):
            found.refused.append(f"{file}{problem}")
        elif is_image(file):
            files[file.relative_to(path)] = file
    return name_files(files, found, str(path))


def single_file(file: File, path: PurePath) -> ImageFiles:
    """Return the one file that ``path`` is.

    Raises:
        UserError: files with its ending are not read.
    """
    if problem := why_unread(path) or (UNPACK if path.suffix.lower() in PACKED else ""):
        raise UserError(f"{file}{problem}")
    return ImageFiles({csv_name(path): file})


def name_files(files: Mapping[PurePath, File], found: ImageFiles, source: str) -> ImageFiles:
    """Return what a search found, with a name for each file, by its path below the folder ``source``.

    Raises:
        UserError: there is no file.
    """
    if not files:
        expected = f"no images under {source}; expected files that end in {', '.join(SUFFIXES)}"
        raise UserError("; ".join([expected, *found.refused]))
    found.files = _named(files)
    return found


def is_image(path: PurePath) -> bool:
    """Return whether files with this ending are read."""
    return path.suffix.lower() in READABLE


def why_unread(path: PurePath) -> str:
    """Return what to do with an image whose ending is not read, behind its name; nothing for other files."""
    if (ending := path.suffix.lower()) in ELSEWHERE:
        return f": {ending} files are not read; export it as OME-TIFF or PNG"
    packed = ending in PACKED and PurePath(path.stem).suffix.lower() in SUFFIXES
    return UNPACK if packed else ""


def file_stamp(file: File) -> list[int | str]:
    """Return size and time of a file, by which a changed one is known; of one in a store its address.

    A folder, such as an OME-Zarr, is known by the names, sizes and times of all files in it.
    """
    if isinstance(file, str):
        return [file]
    try:
        if file.is_dir():
            inside = sorted(path for path in file.rglob("*") if path.is_file())
            stamps = [(path.relative_to(file).as_posix(), *file_stamp(path)) for path in inside]
            return [len(inside), hashlib.sha256(repr(stamps).encode()).hexdigest()]
        stat = file.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def is_left_out(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or what macOS and Windows leave behind."""
    return name.startswith(".") or name in JUNK


def walk_files(
    folder: Path,
    enter: Callable[[Path], bool] = lambda folder: True,
    refused: list[str] | None = None,
    seen: set[str] | None = None,
) -> Iterator[Path]:
    """Yield the files below a folder, each folder once, however it is linked; an OME-Zarr counts as a file.

    Args:
        enter: says whether a folder below is searched.
        refused: takes a line for each folder that cannot be searched.
        seen: folders that were searched already.
    """
    seen = set() if seen is None else seen
    if (real := os.path.realpath(folder)) in seen:
        return
    seen.add(real)
    try:
        entries = sorted(folder.iterdir())
    except OSError as e:
        if refused is not None:
            refused.append(f"{folder} cannot be searched: {e.strerror}")
        return
    for entry in entries:
        if is_left_out(entry.name):
            continue
        if not entry.is_dir() or entry.suffix.lower() == ZARR:
            yield entry
        elif enter(entry):
            yield from walk_files(entry, enter, refused, seen)


def _is_searched(folder: Path, output: Path | None, found: ImageFiles) -> bool:
    """Return whether a folder may hold images: neither annotations beside images nor results."""
    if folder.name in ANNOTATIONS and (folder.parent / "images").is_dir():
        return False
    if output is not None and _is_result(folder, output):
        return False
    results = folder.parent if folder.name in RESULT_FOLDERS else folder  # the input itself may hold some
    if any((place / TABLE).is_file() and (place / "nuclei.csv").is_file() for place in {folder, results}):
        found.notes.append(f"{folder} is left out: it holds predictions")
        return False
    return True


def label_key(path: Path) -> str:
    """Return the name that an image and its annotation share: the stem without what tools add to it.

    >>> label_key(Path("a/cells_cp_masks.png")), label_key(Path("a/cells.ome.tif"))
    ('a/cells', 'a/cells')
    """
    stem = path.stem
    while Path(stem).suffix.lower() in (*SUFFIXES, ".ome"):
        stem = Path(stem).stem
    words = (*MASK_WORDS, *PICTURES, IMAGE_WORD)
    word = next((word for word in words if stem.endswith(word) and stem != word), "")
    return path.with_name(stem.removesuffix(word)).as_posix()


def is_mask_name(path: Path) -> bool:
    """Return whether the name of a file says that it is a label map."""
    return path.stem.endswith(MASK_WORDS)


def _is_result(folder: Path, output: Path) -> bool:
    """Return whether a folder is the output, or one that the output has for label maps and pictures."""
    real, result = os.path.realpath(folder), os.path.realpath(output)
    return real == result or real in {os.path.join(result, name) for name in RESULT_FOLDERS}


RESULT_FOLDERS = ("labels", "overlays", "geojson", "rois", "zarr")


def _named(files: Mapping[PurePath, File]) -> dict[str, File]:
    """Return files by the name of their images, which follows their path below the input.

    Names that several files would have get the ending of each file, or a mark of its path. Those that a page
    of another file has are among them.
    """
    plain = {path: image_name(path) for path in files}
    # File systems of macOS and Windows take names that differ in case alone for one.
    claims = Counter(name.casefold() for name in plain.values())
    named: dict[str, File] = {}
    taken: set[str] = set()
    for path, name in plain.items():
        key = name.casefold()
        if claims[key] > 1 or (PAGE.sub("", key) != key and PAGE.sub("", key) in claims):
            name = f"{name}_{path.suffix[1:].lower()}"
        if claims[name.casefold()] > (key == name.casefold()) or name.casefold() in taken:
            name = f"{name}_{_hash(str(path))}"
        taken.add(name.casefold())
        named[name] = files[path]
    return named


def image_name(file: PurePath) -> str:
    """Return a relative path without its ending, as it can stand in a CSV and name a file.

    An image that lies as the competition's do has its ImageId.

    >>> image_name(Path("plate 7/day 1, left.tif")), image_name(Path("test/0a1b/images/0a1b.png"))
    ('plate_7/day_1__left', 'test/0a1b')
    """
    folders = file.parts[:-1]
    if folders[-2:] == (file.stem, "images"):
        folders = folders[:-2]
    return safe_name(PurePath(*folders, file.stem))


def safe_name(path: PurePath) -> str:
    """Return a relative path as it can stand in a CSV and name a file.

    >>> safe_name(Path("plate 7/day 1, left"))
    'plate_7/day_1__left'
    """
    return "/".join(map(_word, path.parts))


def csv_name(file: PurePath) -> str:
    """Return a file's name without its folder and ending, as it can stand in a CSV.

    >>> csv_name(Path("day 1, left.tif"))
    'day_1__left'
    """
    return _word(file.stem)


def as_text(value: str) -> str:
    """Return a value as a spreadsheet takes it for a text: ' before what might begin a formula."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "'")) else value


def _word(text: str) -> str:
    """Return a name of letters, digits, _ - and . alone, cut where it is too long."""
    word = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text))
    word = re.sub(r"^\.+$", "_", word)
    if len(word.encode()) <= LONGEST:
        return word
    return f"{word.encode()[: LONGEST - 9].decode(errors='ignore')}_{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
