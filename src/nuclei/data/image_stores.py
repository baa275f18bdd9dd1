"""Image files that a list names, or that lie in a store such as S3, which fsspec reaches."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from nuclei.data.image_files import (
    File,
    ImageFiles,
    find_images,
    is_image,
    is_left_out,
    name_files,
    single_file,
    why_unread,
)
from nuclei.errors import UserError

LISTS = (".csv", ".parquet")
"""Endings of lists of images."""
COLUMNS = ("path", "image")
"""Columns that may name the files of a list; the first that is there counts."""


def find_inputs(source: str, output: Path | None = None) -> ImageFiles:
    """Find the images of a folder, of a list of files, or of a store; or take the one that ``source`` is.

    ``source`` is a path, or an address such as ``s3://bucket/folder``; ``output`` is not searched.

    Raises:
        UserError: there is no image, the store is not reached, or a package is missing.
    """
    path = PurePosixPath(source) if is_address(source) else Path(source).expanduser()
    if path.suffix.lower() in LISTS and not (isinstance(path, Path) and path.is_dir()):
        return _listed(source if is_address(source) else str(path))
    return find_images(path, output) if isinstance(path, Path) else _stored(source)


def is_address(source: str) -> bool:
    """Return whether this is an address in a store, and no path."""
    return "://" in source


@contextmanager
def local_copy(file: File) -> Iterator[Path]:
    """Yield the path of a file; one in a store is copied, and the copy is removed at the end.

    Raises:
        UserError: the file cannot be copied; errors about the copy name the address.
    """
    if isinstance(file, Path):
        yield file
        return
    with TemporaryDirectory(prefix="nuclei-") as folder:
        copy = Path(folder) / f"image{PurePosixPath(file).suffix[:20]}"
        store, place = _reach(file)
        try:
            store.get_file(place, str(copy))
        except Exception as e:  # each store has errors of its own
            raise UserError(f"cannot read {file}: {_reason(e)}") from e
        try:
            yield copy
        except UserError as e:
            raise UserError(str(e).replace(str(copy), file)) from e


def extra_needed(purpose: str, error: ImportError) -> UserError:
    """Return the error that says how to install what ``purpose`` needs."""
    cause = error if error.name else error.__cause__
    package = str(getattr(cause, "name", None) or error).split(".")[0]
    return UserError(f"{purpose} needs the package {package}; {sys.executable} -m pip install {package}")


def _reach(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the place in it.

    Raises:
        UserError: there is no such kind of store, or its package is missing.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(address)
    except ImportError as e:
        raise extra_needed(address, e) from e
    except Exception as e:
        raise UserError(f"cannot reach {address}: {_reason(e)}") from e


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return f"{text} ({type(error).__name__})" if text else type(error).__name__


def _stored(source: str) -> ImageFiles:
    """Find the images below a folder of a store, or take the one that ``source`` is."""
    store, root = _reach(source)
    try:
        files = store.find(root)
        if not files:
            store.ls(root)  # says why, where a search passes over it
    except Exception as e:
        raise UserError(f"cannot reach {source}: {_reason(e)}") from e
    if files == [root]:
        return single_file(source, PurePosixPath(root))
    found = ImageFiles()
    images: dict[PurePath, File] = {}
    below = {file: PurePosixPath(file.removeprefix(root).lstrip("/")) for file in sorted(files)}
    folders = {path.parent for path in below.values()}
    for file, path in below.items():
        address = store.unstrip_protocol(file)
        if any(map(is_left_out, path.parts)) or _is_annotation(path, folders):
            continue
        if any(parent.suffix.lower() == ".zarr" for parent in path.parents):
            problem = f": copy {path.parts[0]} to this machine; a folder of a store is no image"
            found.refused += [line] if (line := f"{source}{problem}") not in found.refused else []
        elif problem := why_unread(path):
            found.refused.append(f"{address}{problem}")
        elif is_image(path):
            images[path] = address
    return name_files(images, found, source)


def _is_annotation(path: PurePosixPath, folders: set[PurePosixPath]) -> bool:
    """Return whether a file is a mask of the competition's, which lie beside a folder of images."""
    return any(p.name == "masks" and p.with_name("images") in folders for p in path.parents)


def _listed(source: str) -> ImageFiles:
    """Find the images that a list names; relative paths count from the list's folder.

    Whether the files are there shows when they are read.
    """
    found = ImageFiles()
    files: dict[PurePosixPath, File] = {}
    folder: File = source.rpartition("/")[0] if is_address(source) else Path(source).parent
    lines = 0
    for lines, text in enumerate(_column(source), 1):
        if not text:
            found.refused.append(f"{source}, row {lines}: it names no file")
        elif is_address(text):
            files[_as_path(text)] = text
        elif isinstance(folder, str):
            files[_as_path(f"{folder}/{text}")] = f"{folder}/{text}"
        else:
            path = Path(os.path.abspath(folder / Path(text).expanduser()))
            files[PurePosixPath(path.as_posix())] = path
    if repeated := lines - len(files) - len(found.refused):
        found.notes.append(f"{source}: {repeated} rows name a file again, which is taken once")
    images: dict[PurePath, File] = {}
    root = os.path.commonpath([path.parent for path in files]) if files else ""
    for place, file in files.items():
        if problem := why_unread(place):
            found.refused.append(f"{file}{problem}")
        else:
            images[place.relative_to(root)] = file
    return name_files(images, found, source)


def _as_path(address: str) -> PurePosixPath:
    return PurePosixPath("/" + address.replace("://", "/", 1))


def _column(source: str) -> list[str]:
    """Return the column of a list that names the files.

    Raises:
        UserError: the list cannot be read, or has no such column.
    """
    import fsspec

    _reach(source)  # says which package is missing
    try:
        with fsspec.open(source, "rb") as f:
            read = _parquet_column if source.lower().endswith(".parquet") else _csv_column
            return read(f, source)
    except UserError:
        raise
    except ImportError as e:
        raise extra_needed(source, e) from e
    except Exception as e:
        raise UserError(f"cannot read {source}: {_reason(e)}") from e


def _csv_column(f: Any, source: str) -> list[str]:
    rows = csv.DictReader(io.TextIOWrapper(f, "utf-8-sig", newline=""))
    column = _choose(list(rows.fieldnames or ()), source)
    return [row[column] or "" for row in rows]


def _parquet_column(f: Any, source: str) -> list[str]:
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(f)
    column = _choose(table.schema_arrow.names, source)
    return [str(value or "") for value in table.read([column]).column(0).to_pylist()]


def _choose(names: list[str], source: str) -> str:
    if column := next((name for name in COLUMNS if name in names), None):
        return column
    raise UserError(f"{source} has no column {' or '.join(COLUMNS)}; it has {', '.join(names) or 'none'}")
