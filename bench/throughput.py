"""Compare ``predict`` with StarDist, image by image in turn: ``python bench/throughput.py PYTHON [ROUNDS]``.

PYTHON is an interpreter of an environment with TensorFlow, which the benchmark's own does not have: ``python
-m venv tf; tf/bin/pip install tensorflow-cpu stardist==0.9.2 csbdeep==0.8.2`` makes ``tf/bin/python``.

Both compute on one core. ``predict`` reads a PNG, segments it, measures the nuclei and writes the label map,
with the size of the nuclei measured, and given; StarDist has its image in memory, see ``stardist_peer.py``.
Images a second are those of a core that has nothing else to do: they follow from the processor time, as the
clock also counts what else the machine does. The parts of ``predict`` are timed one by one at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
import cv2
import numpy as np

from nuclei.data.image_io import read_images
from nuclei.data.preprocessing import ImageHints
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.inference.measure import LabelPart
from nuclei.inference.segment_files import FileSettings, measure_channels, segment_files, write_labels
from nuclei.inference.segmenter import Segmenter
from nuclei.model_loading import file_segmenter
from nuclei.paths import default_model
from nuclei.submission.rle import to_lines

SIZES = {(256, 256): 6, (520, 696): 4, (2000, 2000): 1}
"""Sizes of images, and how many there are of each."""
RADIUS = 10.0
DIAMETER = ImageHints(diameter=2 * RADIUS)


def draw(folder: Path) -> dict[tuple[int, int], list[Path]]:
    """Draw the images, as PNG beside their label maps as ``.npy``."""
    drawn = defaultdict(list)
    for size, count in SIZES.items():
        for n in range(count):
            rng = np.random.default_rng([*size, n])
            labels = draw_nuclei(
                rng, size, round(size[0] * size[1] / (4.5 * RADIUS) ** 2), RADIUS, touching=0.3
            )
            path = folder / f"{size[0]}x{size[1]}_{n}.png"
            cv2.imwrite(str(path), draw_fluorescence(rng, labels)[..., 0])
            np.save(path.with_suffix(".npy"), labels)
            drawn[size].append(path)
    return drawn


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Return the processor seconds of some work, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def of_predict(path: Path, segmenter: Segmenter, settings: FileSettings) -> tuple[float, int]:
    """Return the processor seconds that ``predict`` takes for a file, and the number of nuclei."""
    seconds, [[image]] = timed(
        lambda: list(segment_files({path.stem: path}, segmenter, path.parent / "out", settings, 1, 1))
    )
    return seconds, image.count


def stages(path: Path, segmenter: Segmenter) -> Iterator[tuple[str, float]]:
    """Yield the parts of ``predict`` and their processor seconds."""
    seconds, [image] = timed(lambda: list(read_images(path)))
    yield "read", seconds
    seconds, prediction = timed(lambda: segmenter.predict(image.pixels))
    yield "network", seconds
    seconds, labels = timed(lambda: segmenter.labels(prediction.maps))
    yield "post-processing", seconds
    yield "measurement", timed(lambda: measure_channels([LabelPart(labels)], image, None))[0]
    seconds, _ = timed(lambda: to_lines("a", labels))
    yield "write", seconds + timed(lambda: write_labels(path.with_suffix(".tif"), labels, None))[0]


def main(python: str, rounds: int) -> None:
    """Print all figures."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    segmenter = file_segmenter(default_model(), engine="onnx")
    segmenter.use_threads(1)
    settings = {
        "predict": FileSettings(save=("labels",)),
        "predict, diameter given": FileSettings(save=("labels",), hints=DIAMETER),
    }
    peer = subprocess.Popen(
        [python, str(Path(__file__).with_name("stardist_peer.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while not (line := peer.stdout.readline()).startswith("ready"):
        assert line, "the interpreter has no StarDist"
    with tempfile.TemporaryDirectory() as folder:
        for size, paths in draw(Path(folder)).items():
            seconds, counts = defaultdict(list), defaultdict(int)
            for n in range(rounds + 1):  # the first one warms up
                for path in paths:
                    times = {}
                    for name, setting in settings.items():
                        times[name], counts[name] = of_predict(path, segmenter, setting)
                    peer.stdin.write(f"{path.with_suffix('.npy')}\n")
                    peer.stdin.flush()
                    _, cores, count = peer.stdout.readline().split()
                    times["StarDist"], counts["StarDist"] = float(cores), int(count)
                    for name in times if n else ():
                        seconds[name].append(times[name])
            stardist = np.array(seconds["StarDist"])
            for name, values in seconds.items():
                mean, ratio = np.mean(values), np.median(stardist / values)
                row = f"{mean:.3f} s | {1 / mean:.2f} | {ratio:.2f} | {counts[name]}"
                print(f"| {size[0]} × {size[1]} | {name} | {row} |", flush=True)
            parts = defaultdict(float)
            for path in paths:
                for name, value in stages(path, segmenter):
                    parts[name] += value
            total = sum(parts.values())
            print("; ".join(f"{name} {value / total:.0%}" for name, value in parts.items()), flush=True)
    peer.stdin.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
