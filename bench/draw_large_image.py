"""Draw a large grey TIFF in tiles, of any size in little memory: nuclei as in fluorescence.

    PYTHONPATH=src .venv/bin/python bench/draw_large_image.py large.tif 20000

Each square of 1000 x 1000 pixels is one of eight drawings, turned or mirrored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import tifffile

from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei

SQUARE = 1000
TILE = 512


def squares(seed: int = 0) -> Iterator[np.ndarray]:
    """Yield squares ``uint8 (SQUARE, SQUARE)`` without end."""
    rng = np.random.default_rng(seed)
    drawings = [
        draw_fluorescence(rng, draw_nuclei(rng, (SQUARE, SQUARE), 300, 13.0, 0.3))[..., 0] for _ in range(8)
    ]
    while True:
        turned = np.rot90(drawings[rng.integers(len(drawings))], rng.integers(4))
        yield turned[:: rng.choice([-1, 1])]


def tiles(side: int) -> Iterator[np.ndarray]:
    """Yield the tiles of an image of ``side`` x ``side`` pixels, row by row."""
    source, rows = squares(), np.empty((0, side), np.uint8)
    columns = -(-side // SQUARE)
    for top in range(0, side, TILE):
        height = min(TILE, side - top)
        while len(rows) < height:
            row = np.concatenate([next(source) for _ in range(columns)], axis=1)[:, :side]
            rows = np.concatenate([rows, row])
        for left in range(0, side, TILE):
            yield rows[:height, left : left + TILE]
        rows = rows[height:]


def main(path: str, side: int) -> None:
    """Write the image."""
    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, tiles(side), shape=(side, side), dtype=np.uint8, **options)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
