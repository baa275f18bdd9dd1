"""Measure ``predict`` at scale: ``python bench/scale.py memory 2000 6000``, or ``processes 40``.

``memory``: the peak of the memory of all processes together, for each number of images of 64 × 64 pixels,
by ``engine=local`` and by ``engine=ray``. ``processes``: images a second of 256 × 256 pixels by one process
and by two at a time, each with so many images, one core and the work of a task of Ray; by the clock, and by
the processor time, which is what the processes would reach on cores of their own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from nuclei.data.image_stores import find_inputs
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.inference.parquet_parts import split, write_parts
from nuclei.inference.segment_files import FileSettings
from nuclei.model_loading import file_segmenter
from nuclei.paths import default_model


def draw(folder: Path, count: int, side: int, radius: float) -> Path:
    """Draw RGB images with nuclei, 20 different ones, shifted; return their folder."""
    for n in range(count):
        if n < 20:
            rng = np.random.default_rng(n)
            nuclei = max(4, round((side / (4.5 * radius)) ** 2))
            labels = draw_nuclei(rng, (side, side), nuclei, radius, touching=0.3)
            cv2.imwrite(str(folder / f"first_{n}.png"), draw_fluorescence(rng, labels))
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
                megabytes, seconds = peak_memory(draw(Path(folder), count, 64, 16.0), *words)
                yield f"| {engine} | {count:,} | {megabytes:.0f} MB | {seconds:.0f} s |"


def segment_share(images: Path) -> tuple[float, float, int]:
    """Segment images as a task of Ray does; return seconds of the clock and of the core, and their number."""
    segmenter = file_segmenter(default_model(), engine="onnx")
    parts = list(split(find_inputs(str(images)).files, {}))
    with tempfile.TemporaryDirectory() as output:
        list(write_parts(parts[:1], segmenter, Path(output), FileSettings(save=()), 1, 1))  # warms up
        clock, core = time.perf_counter(), time.process_time()
        reports = [r for _, r in write_parts(parts, segmenter, Path(output), FileSettings(save=()), 1, 1)]
        seconds = time.perf_counter() - clock, time.process_time() - core
    return *seconds, sum(report.images for report in reports)


def processes(count: int) -> Iterator[str]:
    """Yield the rows of a table of speeds."""
    with tempfile.TemporaryDirectory() as folder:
        images = draw(Path(folder), count, 256, 10.0)
        for n in (1, 2, 1, 2):
            with ProcessPoolExecutor(n, get_context("spawn")) as pool:
                shares = list(pool.map(segment_share, [images] * n))
            by_clock = sum(n_images / clock for clock, _, n_images in shares)
            by_core = sum(n_images / core for _, core, n_images in shares)
            yield f"| {n} | {by_clock:.1f} | {by_core:.1f} |"


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    for line in memory(numbers) if sys.argv[1] == "memory" else processes(*numbers):
        print(line, flush=True)
