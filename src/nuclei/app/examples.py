"""Drawn images to try the page with: one for each kind of microscope."""

from __future__ import annotations

from functools import cache

import numpy as np

from nuclei.data.synthetic import draw_brightfield, draw_fluorescence, draw_histology, draw_nuclei

SHAPE = (360, 480)


@cache
def examples() -> dict[str, np.ndarray]:
    """``uint8``, RGB ``(H, W, 3)`` or grey ``(H, W)`` by name; the same each time."""
    kinds = {"fluorescence": draw_fluorescence, "histology": draw_histology, "brightfield": draw_brightfield}
    found = {}
    for seed, (name, look) in enumerate(kinds.items()):
        rng = np.random.default_rng(seed)
        image = look(rng, draw_nuclei(rng, SHAPE, count=60, radius=13, touching=0.2))
        found[name] = image if name == "histology" else image[..., 0]
    return found
