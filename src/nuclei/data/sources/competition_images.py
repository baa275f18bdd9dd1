"""The test images as the competition's files have them, whatever state these are in."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from nuclei.data import image_decoding as decode
from nuclei.data.sources.dsb2018 import Item
from nuclei.errors import UserError


def find_tests(root: Path) -> list[Item]:
    """Return the test images under ``root``, sorted by ImageId; none where the folder or zip is empty.

    Args:
        root: a folder with ``stage1_test/ID/images/ID.png`` or ``stage1_test.zip``, as the competition's.

    Raises:
        UserError: there is neither, or the zip is damaged.
    """
    folder, archive = root / "stage1_test", root / "stage1_test.zip"
    if folder.is_dir():
        ids = sorted(path.name for path in folder.iterdir() if path.is_dir())
        return [Item(i, "test", str(_image(folder / i))) for i in ids]
    if not archive.is_file():
        raise UserError(f"{root} has neither stage1_test.zip nor a folder stage1_test")
    try:
        with zipfile.ZipFile(archive) as z:
            names = [name for name in z.namelist() if PurePosixPath(name).match("*/images/[!.]*.*")]
    except zipfile.BadZipFile as e:
        raise UserError(f"{archive} is no readable zip: {e}") from e
    found = {PurePosixPath(name).parts[-3]: name for name in names}
    return [Item(i, "test", found[i], archive=str(archive)) for i in sorted(found)]


def _image(folder: Path) -> Path:
    """The image of an ImageId's folder; the name it should have, where it is not there."""
    return min((folder / "images").glob("[!.]*.*"), default=folder / "images" / f"{folder.name}.png")


def read_or_warn(item: Item) -> np.ndarray | None:
    """Decode an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``; None, and a warning, where that fails."""
    try:
        return decode.image(item.read(item.image), item.image)
    except (UserError, OSError, cv2.error) as e:
        said = " ".join(str(e).split())
        print(f"warning: {item.image_id} cannot be read and gets an empty row: {said}", file=sys.stderr)
        return None
