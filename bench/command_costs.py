"""Time and peak memory of the commands, each in a process of its own.

    NUCLEI_PYTHON=.venv/bin/python python bench/command_costs.py [DATA_ROOT]

DATA_ROOT holds the competition's files (default data/dsb2018). The store is made in a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
ACCESS = """
import random, sys, time
import numpy as np
from nuclei.data.store import Store
start = time.perf_counter()
store = Store(sys.argv[1])
print(f"open {1000 * (time.perf_counter() - start):.1f} ms")
ids = random.Random(0).sample(store.ids("train"), 200)
took = []
for image_id in ids:
    start = time.perf_counter()
    store.image(image_id), store.labels(image_id)
    took.append(1000 * (time.perf_counter() - start))
print(f"image and labels, median {np.median(took):.1f} ms, mean {np.mean(took):.1f} ms")
"""


def timed(name: str, command: list[str], cwd: str) -> None:
    """Run a command; print its time, the peak memory of its largest process, and its last two lines."""
    start = time.perf_counter()
    env = os.environ | {"PYTHONPATH": str(HERE / "src")}
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    took, peak = time.perf_counter() - start, usage.ru_maxrss / 1e6
    print(f"{name:<22} {took:7.2f} s  {peak:5.2f} GB  exit {os.waitstatus_to_exitcode(status)}")
    print("".join(f"    {line}\n" for line in output.splitlines()[-2:]), end="", flush=True)


def main() -> None:
    """Measure each stage; ensemble and submission where there are finished runs in runs/."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "data" / "dsb2018").resolve()
    run = str(HERE / "run.sh")
    with tempfile.TemporaryDirectory() as folder:
        data = [f"data.root={root}", "data=dsb2018"]
        for _ in range(3):
            timed("help", [run, "help"], folder)
        timed("prepare", [run, "prepare", *data], folder)
        timed("random access", [sys.executable, "-c", ACCESS, "data/dsb2018.store"], folder)
        timed("folds", [run, "folds", *data], folder)
        brief = [
            "batch_size=16",
            "samples_per_epoch=320",
            "trainer.max_epochs=1",
            "trainer.limit_val_batches=0",
        ]
        timed("train, batch 16", [run, "model=unet", *brief, "tta=1", "diameter=null", *data], folder)
        runs = HERE / "runs"
        if (runs / "dsb2018").is_dir():  # what was trained before
            trained = [f"paths.runs={runs}", f"data.folds={HERE / 'folds' / 'dsb2018.csv'}", *data]
            timed("ensemble", [run, "ensemble", *trained], folder)
            timed("submission", [run, "submission", *trained], folder)
        for csv in sorted((HERE / "submissions").glob("dsb2018*.csv")):
            timed("validate", [run, "validate", f"submission={csv}", *data], folder)


if __name__ == "__main__":
    main()
