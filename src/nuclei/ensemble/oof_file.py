"""One fold's ``oof.npz``: read with every byte checked."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nuclei.errors import UserError

FACTS = ("channels", "folds_sha256")
"""Entries of ``oof.npz`` that are no image."""

DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, RuntimeError, OSError)
"""What reading a damaged zip file raises."""


class OofFile:
    """One fold's ``oof.npz``, open for reading.

    Raises:
        UserError: the file is damaged; the message names it and the command that makes it again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGE as e:
            raise self.bad("is damaged") from e
        names = [name.removesuffix(".npy") for name in self._zip.namelist()]
        self.ids = [name for name in names if name not in FACTS]
        self.channels = tuple(str(name) for name in self.read("channels"))
        self.folds_sha256 = str(self.read("folds_sha256"))

    def __enter__(self) -> OofFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> np.ndarray:
        """Read one array; its bytes are checked by their CRC-32 before they are believed."""
        try:
            return np.lib.format.read_array(io.BytesIO(self._zip.read(f"{name}.npy")))
        except DAMAGE as e:
            raise self.bad(f"is damaged at {name}") from e

    def maps(self, image_id: str, shape: tuple[int, ...]) -> np.ndarray:
        """Read the uint8 maps of an image, which must have ``shape``."""
        maps = self.read(image_id)
        if maps.dtype != np.uint8 or maps.shape != shape:
            raise self.bad(f"has {maps.dtype} {maps.shape} maps of {image_id} instead of uint8 {shape}")
        return maps

    def bad(self, what: str, remove: str = "") -> UserError:
        """Say what is wrong with the file, what to remove (by default only the maps), and what to run."""
        folder = self.path.parent
        command = train_command(folder.parent, [fold_of(folder)])
        return UserError(
            f"{self.path} {what}; make it anew: rm {remove or f'{self.path} {folder}/done.json'}; {command}"
        )


def fold_of(folder: Path) -> int:
    """Read the fold's number from the name of its folder, ``fold3``."""
    return int(folder.name.removeprefix("fold"))


def train_command(run: Path, folds: Sequence[int]) -> str:
    """Write the command that trains folds of the run ``.../<data>/<model>/<name>``.

    >>> train_command(Path("runs/dsb2018/unet/default"), [1, 3])
    './run.sh -m data=dsb2018 model=unet name=default fold=1,3'
    """
    data, model, name = run.parts[-3:]
    several = "-m " if len(folds) > 1 else ""
    return f"./run.sh {several}data={data} model={model} name={name} fold={','.join(map(str, folds))}"
