"""StarDist's ``predict_instances``, timed: ``bench/throughput.py`` runs it where TensorFlow is installed.

For each line of the standard input, the path of a label map (``.npy``), an image of it is segmented in
memory; a line with the seconds of the clock, of all cores, and the number of nuclei follows. The network has
its published size (``2D_versatile_fluo``: 32 rays, a grid of 2, three levels, 1.4 million weights) and no
training. What follows the network is given the true distances, as a trained network would predict them: else
there would be thousands of candidates, or none. No image is read, normalised or written.
"""

from __future__ import annotations

import os
import sys
import time

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
import numpy as np
from stardist import edt_prob, star_dist
from stardist.models import Config2D, StarDist2D

GRID, RAYS = 2, 32


def main() -> None:
    """Answer lines until there are no more."""
    model = StarDist2D(Config2D(n_rays=RAYS, grid=(GRID, GRID), n_channel_in=1), name=None, basedir=None)
    model.thresholds = {"prob": 0.479, "nms": 0.3}  # those of 2D_versatile_fluo
    known = {}
    print("ready", model.keras_model.count_params(), flush=True)
    for line in sys.stdin:
        if (path := line.strip()) not in known:
            labels = np.load(path)
            image = (labels > 0) + np.random.default_rng(0).normal(0, 0.05, labels.shape)
            prob, dist = edt_prob(labels)[::GRID, ::GRID], star_dist(labels, RAYS)[::GRID, ::GRID]
            known[path] = image.astype(np.float32), prob, dist
        image, prob, dist = known[path]
        clock, cores = time.perf_counter(), time.process_time()
        model.predict(image)
        found, _ = model._instances_from_prediction(image.shape, prob, dist)
        clock, cores = time.perf_counter() - clock, time.process_time() - cores
        print(clock, cores, found.max(), flush=True)


main()
