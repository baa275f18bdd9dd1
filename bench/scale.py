"""Measure ``predict`` at scale: ``python bench/scale.py memory 2000 20000``.

The peak of the memory of all processes together, for each number of images of 64 × 64 pixels, with
``engine=local`` and with ``engine=ray``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from nuclei.data.synthetic import draw_fluorescence, draw_nuclei


def draw(folder: Path, count: int, side: int, diameter: float = 16.0) -> Path:
    """Draw images with nuclei, 20 different ones, shifted; return their folder."""
    for n in range(count):
        if n < 20:
            rng = np.random.default_rng(n)
            shape, nuclei = (side, side), max(3, round(side * side / (4 * diameter**2)))
            image = draw_fluorescence(rng, draw_nuclei(rng, shape, nuclei, diameter, touching=0.3))
            cv2.imwrite(str(folder / f"first_{n}.png"), image[..., ::-1] if image.ndim == 3 else image)
        image = cv2.imread(str(folder / f"first_{n % 20}.png"), cv2.IMREAD_UNCHANGED)
        place = folder / "images" / f"{n // 1000}" / f"{n}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), np.roll(image, n // 20, axis=1))
    return folder / "images"


def tree_memory(root: int) -> int:
    """Return the bytes of memory (RSS) of a process and all that it started."""
    parents, memory = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            memory[int(path.name)] = int((path / "statm").read_text().split()[1]) * 4096
        except (OSError, IndexError):
            continue  # it has ended

    def is_below(process: int) -> bool:
        return process == root or (process in parents and is_below(parents[process]))

    return sum(size for process, size in memory.items() if is_below(process))


def peak_memory(images: Path, *words: str) -> tuple[float, float]:
    """Return the peak in MB of a ``predict`` and its processes, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "nuclei", "predict", f"input={images}", f"output={output}", *words]
        start, peak = time.monotonic(), 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None:
                peak = max(peak, tree_memory(run.pid))
                time.sleep(0.3)
        assert run.returncode == 0
        return peak / 1e6, time.monotonic() - start


def memory(counts: list[int]) -> Iterator[str]:
    """Yield the rows of a table of peaks."""
    engines = {"local": ("save=[parquet]",), "ray": ("engine=ray", "workers=1", "save=[]")}
    for engine, words in engines.items():
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                megabytes, seconds = peak_memory(draw(Path(folder), count, 64), *words)
                yield f"| {engine} | {count:,} | {megabytes:.0f} MB | {seconds:.0f} s |"


if __name__ == "__main__":
    for line in memory([int(word) for word in sys.argv[2:]]):
        print(line, flush=True)
